// Whole tiny models: the engine on CUDA against the engine on the scalar CPU backend.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>

#include "tests/cuda/cuda_fixture.h"
#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

class CudaModelTest : public EngineTest {
 protected:
  void SetUp() override {
    auto backend = CreateCudaBackend();
    if (!backend.ok() && backend.status().code() == absl::StatusCode::kFailedPrecondition) {
      GTEST_SKIP() << "no CUDA device";
    }
    ASSERT_TRUE(backend.ok()) << backend.status();
  }

  void WriteModel(support::TinyModelOptions options) {
    options.context_tokens = kContext;
    options.seed = 3;
    support::WriteGguf(support::MakeTinyModel(options), dir_.File("model.gguf"));
  }

  void StartOn(const std::string& device) {
    options_.device = device;
    options_.isa = "scalar";
    Start();
  }

  // Logits [tokens, vocab] of teacher forcing; tokens from `decode_from` on by decode rows.
  std::vector<float> Score(const std::string& config, int tokens, int64_t decode_from) {
    std::vector<float> all;
    const absl::Status status = engine_->Score(
        Tokens(tokens, 5), *KvConfig::Parse(config), ScoreOptions{.decode_from = decode_from},
        [&](int64_t, std::span<const float> logits) {
          all.insert(all.end(), logits.begin(), logits.end());
        });
    EXPECT_TRUE(status.ok()) << config << ": " << status;
    return all;
  }
};

double RootMeanSquare(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

// Logits have a standard deviation of about 1. Every operand of a product is rounded to bf16, 2^-9
// of its magnitude on average, independently; a dozen products follow one another, and what is
// rounded to codes may fall to the other side of a step: 0.03 is what is left for all of that.
constexpr double kTolerance = 0.03;

TEST_F(CudaModelTest, LogitsOfEveryWeightFormat) {
  for (const TensorType type :
       {TensorType::kF32, TensorType::kBf16, TensorType::kQ4_0, TensorType::kQ4_1,
        TensorType::kQ5_0, TensorType::kQ8_0, TensorType::kQ4_K, TensorType::kQ6_K}) {
    SCOPED_TRACE(GetTensorTypeInfo(type).name);
    WriteModel({.layers = 2,
                .hidden = 256,
                .heads = 4,
                .kv_heads = 2,
                .head_dim = 64,
                .ffn = 512,
                .type = type});
    const std::string config = "k=bf16 v=bf16 sink=0 recent=0 chunk=64";
    StartOn("cpu");
    const std::vector<float> want = Score(config, 150, 100);
    StartOn("cuda");
    EXPECT_EQ(engine_->model().backend, "cuda");
    EXPECT_LT(RootMeanSquare(Score(config, 150, 100), want), kTolerance);
  }
}

TEST_F(CudaModelTest, LogitsOfEveryKindOfCache) {
  WriteModel({.layers = 3,
              .hidden = 256,
              .heads = 4,
              .kv_heads = 2,
              .head_dim = 128,
              .ffn = 256,
              .type = TensorType::kQ4_0});
  const char* const configs[] = {"k=int8-token v=int8-token sink=16 recent=64 chunk=64",
                                 "k=int8-channel v=int4-token sink=16 recent=0 chunk=128",
                                 "k=int8-channel v=int8-token sink=0 recent=0 chunk=64",
                                 "k=int8-block v=int8-token-g32 sink=20 recent=0 chunk=64",
                                 "k=int8-token v=int8-token krot=hadamard vrot=hadamard chunk=64"};
  std::vector<std::vector<float>> want;
  StartOn("cpu");
  for (const char* config : configs) want.push_back(Score(config, 333, 200));
  StartOn("cuda");
  for (size_t i = 0; i < want.size(); ++i) {
    SCOPED_TRACE(configs[i]);
    EXPECT_LT(RootMeanSquare(Score(configs[i], 333, 200), want[i]), kTolerance);
  }
}

// A greedy answer does not depend on what else the engine computes.
TEST_F(CudaModelTest, AnswersDoNotDependOnTheBatch) {
  StartOn("cuda");
  const std::string config = "k=int4-channel v=int4-token chunk=64";
  const std::vector<int32_t> alone = Run(Greedy(100, 80, config, 1));
  std::vector<std::shared_ptr<Collector>> others;
  for (int i = 2; i < 8; ++i) {
    const std::string other = i % 2 == 0 ? config : "k=int8-token v=int8-token chunk=128";
    others.push_back(Submit(Greedy(50 * i, 60, other, i)));
  }
  EXPECT_EQ(Run(Greedy(100, 80, config, 1)), alone);
  for (const auto& other : others) EXPECT_TRUE(other->Wait().ok());
}

// The head counts and the key bias of Qwen2.5-7B (seven query heads to a KV head), and Mistral-7B's
// grouping, in both kinds of attention, with all that may be stored.
TEST_F(CudaModelTest, LogitsOfOtherHeadCounts) {
  const support::TinyModelOptions shapes[] = {{.architecture = Architecture::kQwen2,
                                               .layers = 2,
                                               .hidden = 896,
                                               .heads = 7,
                                               .kv_heads = 1,
                                               .head_dim = 128,
                                               .ffn = 512,
                                               .type = TensorType::kQ4_0},
                                              {.architecture = Architecture::kMistral,
                                               .layers = 2,
                                               .hidden = 512,
                                               .heads = 8,
                                               .kv_heads = 2,
                                               .head_dim = 64,
                                               .ffn = 512,
                                               .type = TensorType::kQ4_0}};
  for (const support::TinyModelOptions& shape : shapes) {
    SCOPED_TRACE(shape.heads);
    WriteModel(shape);
    std::vector<std::vector<float>> want;
    const char* const configs[] = {"k=bf16 v=bf16 chunk=64",
                                   "k=int8-token v=int4-token sink=16 recent=64 chunk=128"};
    StartOn("cpu");
    for (const char* config : configs) want.push_back(Score(config, 333, 200));
    StartOn("cuda");
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_LT(RootMeanSquare(Score(configs[i], 333, 200), want[i]), kTolerance) << configs[i];
    }
  }
}

// What the driver sees is what the metrics add up to, and no step takes more.
TEST_F(CudaModelTest, DeviceMemoryIsAccountedFor) {
  constexpr uint64_t kDriversOwn = uint64_t{256} << 20;
  WriteModel({.layers = 2,
              .hidden = 512,
              .heads = 8,
              .kv_heads = 2,
              .head_dim = 64,
              .ffn = 512,
              .type = TensorType::kQ4_0});
  const auto used = [] {
    size_t free_bytes = 0, total_bytes = 0;
    EXPECT_EQ(cudaMemGetInfo(&free_bytes, &total_bytes), cudaSuccess);
    return total_bytes - free_bytes;
  };
  options_.kv_capacity_bytes = uint64_t{64} << 20;
  engine_.reset();
  const uint64_t before = used();
  StartOn("cuda");
  const EngineStats at_start = engine_->Stats();
  for (const char* config : {"k=bf16 v=bf16 chunk=64", "k=int4-channel v=int4-token chunk=256"}) {
    for (int i = 0; i < 3; ++i) EXPECT_EQ(Run(Greedy(700, 40, config, i)).size(), 40u);
  }
  const EngineStats after = engine_->Stats();
  EXPECT_EQ(after.scratch_bytes, at_start.scratch_bytes);
  EXPECT_GT(after.device_free_bytes, 0u);
  EXPECT_LE(after.device_used_bytes - before, after.weights_bytes + after.workspace_bytes +
                                                  after.scratch_bytes + after.capacity_bytes +
                                                  kDriversOwn);
}

TEST_F(CudaModelTest, ContextThatDoesNotFitIsRefusedAtStart) {
  options_.kv_capacity_bytes = uint64_t{4} << 40;
  options_.device = "cuda";
  const auto engine = Engine::Create(options_);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(Reason(engine.status()), "DEVICE_MEMORY") << engine.status();
  const std::string message(engine.status().message());
  for (const char* part :
       {"kv_capacity_bytes is 4398046511104", "at most", "weights of", "scratch"}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace kvpareto
