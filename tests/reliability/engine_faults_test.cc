// Faults of the device, of numbers and of files, on a real engine.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "engine/base/mapped_file.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/forwarding_backend.h"
#include "tests/support/step_gate.h"

namespace kvpareto {
namespace {

constexpr char kInt8[] = "k=int8-token v=int8-token sink=0 recent=0 chunk=64";
constexpr int32_t kPoison = support::kFirstByte + 255;

class EngineFaultsTest : public EngineTest {
 protected:
  void StartWith(const EngineHooks& hooks) {
    auto engine = Engine::Create(options_, hooks);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  bool MemoryIsFreed() {
    for (int i = 0; i < 1000 && engine_->Stats().arena_allocated_bytes > 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return engine_->Stats().arena_allocated_bytes == 0;
  }
  // A model in which the token kPoison is embedded as a NaN.
  void WritePoisonedModel() {
    support::TinyModel model = support::MakeTinyModel({.layers = 2,
                                                       .hidden = 128,
                                                       .heads = 4,
                                                       .kv_heads = 2,
                                                       .head_dim = 64,
                                                       .ffn = 128,
                                                       .context_tokens = kContext,
                                                       .tied = false,
                                                       .seed = 3});
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(model.tensor("token_embd.weight").data.data() + kPoison * 128 * sizeof(float), &nan,
                sizeof(nan));
    support::WriteGguf(model, options_.model_path);
  }
  // A prompt with the poison at `position`; the others have none.
  static Request Poisoned(int prompt_tokens, int position) {
    Request request = Harmless(prompt_tokens, 4);
    std::get<std::vector<int32_t>>(request.prompt)[position] = kPoison;
    return request;
  }
  static Request Harmless(int prompt_tokens, int max_tokens, int seed = 0) {
    Request request = Greedy(prompt_tokens, max_tokens, kInt8, seed);
    for (int32_t& token : std::get<std::vector<int32_t>>(request.prompt)) {
      if (token == kPoison) --token;
    }
    return request;
  }
};

TEST_F(EngineFaultsTest, ALostDeviceEndsTheEngineWithAReason) {
  const auto gate = std::make_shared<support::StepGate>();
  StartWith(support::GatedBy(gate));
  gate->Close();
  const auto running = Submit(Greedy(100, 50, kInt8));
  ASSERT_TRUE(gate->RunTo(1));
  gate->Fail(MakeError(absl::StatusCode::kInternal, "DEVICE_LOST", "an illegal address"));
  gate->Open();
  EXPECT_EQ(Reason(running->Wait()), "DEVICE_LOST");
  EXPECT_TRUE(MemoryIsFreed());
  EXPECT_EQ(engine_->Stats().failure, "an illegal address");
  const absl::Status later = Submit(Greedy(100, 50, kInt8))->Wait();
  EXPECT_EQ(later.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Reason(later), "ENGINE_FAILED");
}

TEST_F(EngineFaultsTest, AnEngineThatIsStuckShowsIt) {
  const auto gate = std::make_shared<support::StepGate>();
  StartWith(support::GatedBy(gate));
  EXPECT_EQ(engine_->Stats().stalled_seconds, 0);
  gate->Close();
  const auto running = Submit(Greedy(100, 3, kInt8));
  ASSERT_TRUE(gate->RunTo(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  EXPECT_GE(engine_->Stats().stalled_seconds, 0.05);
  gate->Open();
  EXPECT_TRUE(running->Wait().ok());
  EXPECT_TRUE(MemoryIsFreed());
  EXPECT_EQ(engine_->Stats().stalled_seconds, 0);
}

TEST_F(EngineFaultsTest, ANanEndsItsRequestAndTouchesNoOther) {
  WritePoisonedModel();
  options_.prefix_cache_bytes = options_.kv_capacity_bytes;
  Start();
  const std::vector<int32_t> alone = Run(Harmless(150, 40, 1));
  // In the first chunk, in a middle one, and in the last one, which samples.
  for (const int position : {10, 100, 199}) {
    const auto neighbour = Submit(Harmless(150, 40, 1));
    neighbour->WaitForDeltas(2);
    const auto poisoned = Submit(Poisoned(200, position));
    EXPECT_EQ(Reason(poisoned->Wait()), "NUMERICAL_ERROR") << position;
    EXPECT_TRUE(poisoned->tokens().empty());
    EXPECT_TRUE(neighbour->Wait().ok());
    EXPECT_EQ(neighbour->tokens(), alone);
  }
  // Nor does it through the prefix cache, by the chunks before it or its own.
  EXPECT_TRUE(Submit(Harmless(200, 4))->Wait().ok());
}

// A kernel that is wrong for one codec: what is sealed to int4 becomes something else.
class BrokenInt4 final : public support::ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void Seal(const SealArgs& args) override {
    backend().Seal(args);
    for (const SealItem& item : args.items) {
      const kv::LayerLayout& to = *item.destination_layout;
      if (to.v_tile_bytes * 3 > item.source_layout->v_tile_bytes) continue;  // above 5 bits
      std::memset(item.destination + to.v_offset, 0x5a, to.v_tile_bytes);
    }
  }
};

class SelfTestTest : public EngineFaultsTest {
 protected:
  void SetUp() override {
    Start();
    ParetoTable table;
    table.model_name = engine_->model().config.name;
    table.model_fingerprint = engine_->model().fingerprint;
    table.provenance = {"test", "2026-01-01", "test", "none", "0"};
    for (const auto& [name, config] :
         {std::pair("bf16", "k=bf16 v=bf16 sink=0 recent=0 chunk=64"), std::pair("int8", kInt8),
          std::pair("int4", "k=int4-channel v=int4-token sink=16 recent=0 chunk=128")}) {
      ParetoRow row{.name = name, .config = *KvConfig::Parse(config), .bytes_per_token = 1};
      row.accuracy.push_back({.max_context_tokens = kContext});
      table.rows.push_back(std::move(row));
    }
    options_.table_path = dir_.File("table.yaml");
    support::WriteBytes(options_.table_path, FormatParetoTable(table));
    options_.self_test = true;
  }
};

TEST_F(SelfTestTest, RowsOfAWorkingMachineStay) {
  Start();
  EXPECT_EQ(engine_->table().rows.size(), 3u);
  EXPECT_TRUE(engine_->model().refused_rows.empty());
}

TEST_F(SelfTestTest, ARowWhoseKernelIsBrokenIsRefused) {
  StartWith({.wrap_backend = [](std::unique_ptr<Backend> backend) {
    return std::make_unique<BrokenInt4>(std::move(backend));
  }});
  ASSERT_EQ(engine_->model().refused_rows.size(), 1u);
  EXPECT_EQ(engine_->model().refused_rows[0].name, "int4");
  EXPECT_EQ(engine_->table().rows.size(), 2u);
  const auto prepared = engine_->Prepare(Greedy(100, 5, "int4"));
  EXPECT_EQ(Reason(prepared.status()), "KV_CONFIG_UNKNOWN");
  EXPECT_EQ(Run(Greedy(100, 5, "int8")).size(), 5u);
}

TEST_F(EngineFaultsTest, AFileThatShrinksWhileItIsReadIsAnError) {
  const std::string path = dir_.File("shrinks");
  support::WriteBytes(path, std::string(1 << 20, 'x'));
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->bytes()[0], std::byte{'x'});
  EXPECT_TRUE((*file)->Check().ok());
  ASSERT_EQ(::truncate(path.c_str(), 4096), 0);
  EXPECT_EQ((*file)->bytes()[900'000], std::byte{0});  // no SIGBUS
  EXPECT_EQ(Reason((*file)->Check()), "FILE_READ_FAILED");
}

// Cuts the model's file off when its first weight has been loaded.
class Truncating final : public support::ForwardingBackend {
 public:
  Truncating(std::unique_ptr<Backend> backend, std::string path)
      : ForwardingBackend(std::move(backend)), path_(std::move(path)) {}
  absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(std::span<const TensorView> stacked) override {
    auto weight = backend().LoadWeight(stacked);
    EXPECT_EQ(::truncate(path_.c_str(), 4096), 0);
    return weight;
  }

 private:
  const std::string path_;
};

TEST_F(EngineFaultsTest, AModelThatShrinksWhileItLoadsIsAnError) {
  const auto engine =
      Engine::Create(options_, {.wrap_backend = [&](std::unique_ptr<Backend> backend) {
                       return std::make_unique<Truncating>(std::move(backend), options_.model_path);
                     }});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Reason(engine.status()), "FILE_READ_FAILED");
}

TEST_F(EngineFaultsTest, AModelThatShrinksLaterIsNotNoticed) {
  Start();
  const std::vector<int32_t> before = Run(Greedy(100, 5, kInt8));
  ASSERT_EQ(::truncate(options_.model_path.c_str(), 4096), 0);
  EXPECT_EQ(Run(Greedy(100, 5, kInt8)), before);
}

}  // namespace
}  // namespace kvpareto
