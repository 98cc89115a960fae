// Random requests through the scheduler's core, with every byte that a sequence reads checked in
// every step (stamp_executor.h): shared prefixes, continuations, configs, cancellation, deadlines
// and pressure at once. KVPARETO_SOAK_REQUESTS makes it longer; scripts/soak.py
// does the like to a whole server.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <set>

#include "engine/scheduler/scheduler_core.h"
#include "tests/scheduler/stamp_executor.h"

namespace kvpareto {
namespace {

ModelConfig SoakModel() {
  ModelConfig model;
  model.layers = 2;
  model.hidden = 64;
  model.ffn = 64;
  model.heads = 2;
  model.kv_heads = 1;
  model.head_dim = 64;
  model.vocab = 256;
  model.context_tokens = 8192;
  return model;
}

const char* const kConfigs[] = {
    "k=bf16 v=bf16 sink=16 recent=0 chunk=128",
    "k=int8-token v=int8-token sink=16 recent=0 chunk=128",
    "k=int4-channel v=int4-token sink=16 recent=0 chunk=128",
    "k=int4-channel v=int4-token sink=16 recent=200 chunk=64",
    "k=int8-token v=int4-token sink=0 recent=64 chunk=64",
};
constexpr int kFamily = 3;  // the first ones may become each other

class CountingSink final : public ResponseSink {
 public:
  void OnDelta(Delta delta) override { tokens += delta.tokens.size(); }
  void OnFinish(const absl::Status&, const Usage&) override {}
  int64_t tokens = 0;
};

class Soak {
 public:
  // Every hundredth round the clock leaps by `leap`, as it does where a machine sleeps.
  explicit Soak(uint32_t seed, Clock::duration leap = std::chrono::milliseconds(1))
      : leap_(leap),
        random_(seed),
        memory_(kCapacity + kv::kRegionAlignment),
        arena_(Base(), kCapacity, Move) {}

  void Run(int requests) {
    SchedulerParts parts;
    parts.model = &model_;
    parts.executor = &executor_;
    parts.arena = &arena_;
    parts.now = [this] { return now_; };
    SchedulerCore core(
        {.max_prefill_rows = 256, .max_running_sequences = 24, .prefix_cache_bytes = kCapacity / 2},
        parts);
    int submitted = 0;
    for (int round = 1; submitted < requests || !core.idle(); ++round) {
      now_ += round % 100 == 0 ? leap_ : std::chrono::milliseconds(1);
      for (size_t i = Pick(2); i > 0 && submitted < requests && inside_ < 40; --i) {
        Submit(core, ++submitted);
      }
      std::vector<RequestHandle> cancelled;
      if (Pick(19) == 0) cancelled.push_back(RequestHandle{Pick(submitted)});
      cancelled_.insert(cancelled.begin(), cancelled.end());
      core.DropCancelledAndExpired(cancelled);
      core.Admit();
      core.RunStep();
      core.Publish();
      for (const FinishedRequest& finished : core.TakeFinished()) Check(finished);
      CheckBytes(core);
      if (::testing::Test::HasFatalFailure()) return;
    }
    const EngineStats stats = core.stats().Snapshot();
    EXPECT_GT(stats.prefix_hit_tokens_total, 0u);
    EXPECT_GT(stats.evicted_bytes_total.size(), 0u);
    EXPECT_GT(finished_ok_, requests / 2);
    EXPECT_GT(executor_.requantized_blocks, 0u);
    EXPECT_EQ(arena_.stats().reserved_bytes, 0u);
    EXPECT_EQ(arena_.stats().allocated_bytes, arena_.stats().cached_bytes);
    EXPECT_EQ(inside_, 0);
  }

  uint64_t checked_tokens() const { return executor_.checked_tokens; }
  int late() const { return late_; }

 private:
  static constexpr size_t kCapacity = size_t{2} << 20;

  static void Move(std::byte* to, const std::byte* from, size_t bytes) {
    std::memmove(to, from, bytes);
  }
  std::byte* Base() {
    return reinterpret_cast<std::byte*>(kv::AlignUp(reinterpret_cast<uintptr_t>(memory_.data())));
  }
  size_t Pick(size_t max) { return std::uniform_int_distribution<size_t>(0, max)(random_); }

  // Prompts begin with one of a few texts of their salt, cut anywhere.
  std::vector<int32_t> Prompt() {
    std::vector<int32_t> tokens(20 + Pick(Pick(3) == 0 ? 1500 : 400));
    const size_t common = Pick(tokens.size());
    const int32_t text = static_cast<int32_t>(Pick(3));
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = i < common ? static_cast<int32_t>((i * 7 + text * 13) % 50)
                             : static_cast<int32_t>(Pick(49));
    }
    return tokens;
  }

  void Submit(SchedulerCore& core, int id) {
    auto request = std::make_unique<ActiveRequest>();
    PreparedRequest& prepared = request->prepared;
    prepared.prompt_tokens = Prompt();
    prepared.max_tokens = 1 + static_cast<int>(Pick(150));
    prepared.request.num_sequences = Pick(5) == 0 ? 1 + static_cast<int>(Pick(3)) : 1;
    prepared.request.use_prefix_cache = Pick(9) > 0;
    prepared.request.cache_salt = Pick(3) == 0 ? "other" : "";
    prepared.request.service_class = Pick(3) == 0 ? "batch" : "default";
    if (Pick(9) == 0) prepared.request.deadline = now_ + std::chrono::milliseconds(Pick(200));
    const KvDemand demand{.prompt_tokens = static_cast<int64_t>(prepared.prompt_tokens.size()),
                          .total_tokens = static_cast<int64_t>(prepared.prompt_tokens.size()) +
                                          prepared.max_tokens - 1,
                          .sequences = prepared.request.num_sequences};
    const int config = static_cast<int>(Pick(std::size(kConfigs) - 1));
    for (int i = config; i < (config < kFamily ? kFamily : config + 1); ++i) {
      Plan plan;
      plan.row_name = "row" + std::to_string(i);
      plan.config = *KvConfig::Parse(kConfigs[i]);
      plan.kv_peak_bytes = PredictKvPeakBytes(plan.config, model_, demand);
      plan.accuracy = plan.mean_accuracy = 1.0 - 0.01 * i;
      prepared.alternatives.push_back(plan);
    }
    prepared.plan = prepared.alternatives.front();
    ASSERT_LE(prepared.plan.kv_peak_bytes, kCapacity);
    request->handle = RequestHandle{static_cast<uint64_t>(id)};
    request->submitted = now_;
    request->sink = std::make_shared<CountingSink>();
    core.Enqueue(std::move(request));
    ++inside_;
  }

  void Check(const FinishedRequest& finished) {
    --inside_;
    const ActiveRequest& request = *finished.request;
    EXPECT_LE(request.peak_bytes, request.prepared.alternatives.front().kv_peak_bytes);
    if (!finished.status.ok()) return CheckReason(finished);
    ++finished_ok_;
    const auto& sink = static_cast<const CountingSink&>(*request.sink);
    EXPECT_EQ(sink.tokens,
              int64_t{request.prepared.max_tokens} * request.prepared.request.num_sequences);
  }

  // Nothing ends early but what was cancelled and what is late.
  void CheckReason(const FinishedRequest& finished) {
    const auto& deadline = finished.request->prepared.request.deadline;
    if (finished.status.code() == absl::StatusCode::kDeadlineExceeded) {
      EXPECT_TRUE(deadline.has_value() && *deadline <= now_);
      ++late_;
    } else {
      EXPECT_EQ(finished.status.code(), absl::StatusCode::kCancelled) << finished.status;
      EXPECT_TRUE(cancelled_.contains(finished.request->handle));
    }
  }

  // What the metrics say, what the parts say and what the arena says.
  void CheckBytes(const SchedulerCore& core) {
    const EngineStats stats = core.stats().Snapshot();
    const kv::ArenaStats arena = arena_.stats();
    uint64_t allocated = 0, cached = 0, reserved = 0;
    for (const auto& [key, bytes] : stats.kv) {
      allocated += bytes.allocated_bytes;
      ASSERT_LE(bytes.live_bytes, bytes.allocated_bytes);
    }
    for (const auto& [config, bytes] : stats.cached_bytes) cached += bytes;
    for (const auto& [label, bytes] : stats.reserved_bytes) reserved += bytes;
    ASSERT_EQ(cached, arena.cached_bytes);
    ASSERT_EQ(allocated + cached, arena.allocated_bytes);
    ASSERT_EQ(reserved, arena.reserved_bytes);
    ASSERT_LE(allocated, reserved);
    ASSERT_LE(cached, kCapacity / 2);
  }

  const Clock::duration leap_;
  std::mt19937 random_;
  ModelConfig model_ = SoakModel();
  std::vector<std::byte> memory_;
  kv::Arena arena_;
  StampExecutor executor_;
  Clock::time_point now_{};
  std::set<RequestHandle> cancelled_;
  int inside_ = 0;
  int finished_ok_ = 0;
  int late_ = 0;
};

TEST(SoakTest, EveryTokenIsWhereItBelongsAndEveryByteIsCounted) {
  const char* const wanted = std::getenv("KVPARETO_SOAK_REQUESTS");
  const int requests = wanted == nullptr ? 600 : std::atoi(wanted);
  ASSERT_GT(requests, 0);
  Soak soak(1);
  soak.Run(requests);
  EXPECT_GT(soak.checked_tokens(), 1000u * requests);
}

TEST(SoakTest, AClockThatLeapsEndsWhatIsDueAndNothingElse) {
  Soak soak(2, std::chrono::hours(7));
  soak.Run(300);
  EXPECT_GT(soak.late(), 0);
}

}  // namespace
}  // namespace kvpareto
