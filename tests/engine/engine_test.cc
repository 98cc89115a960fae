// The whole engine on a tiny model: batching, memory, ends of requests.
#include "engine/engine.h"

#include <gmock/gmock.h>

#include <thread>

#include "engine/kv/tile.h"
#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const char* const kConfigs[] = {
    "k=bf16 v=bf16 sink=0 recent=0 chunk=256",
    "k=int8-token v=int8-token sink=16 recent=0 chunk=128",
    "k=int4-channel v=int4-token-g32 sink=16 recent=128 chunk=256",
    "k=int4-token-g64 v=int2-token-g32 sink=4 recent=64 chunk=64",
    "k=int8-block v=int4-channel sink=16 recent=0 chunk=512",
};

TEST_F(EngineTest, GreedyOutputIsReproducible) {
  Start();
  const auto first = Run(Greedy(300, 40, kConfigs[2]));
  EXPECT_EQ(first.size(), 40u);
  EXPECT_EQ(Run(Greedy(300, 40, kConfigs[2])), first);
}

TEST_F(EngineTest, OutputDoesNotDependOnTheBatch) {
  Start();
  std::vector<Request> requests;
  for (int i = 0; i < 10; ++i) {
    requests.push_back(Greedy(50 + 97 * i, 30 + i, kConfigs[i % 5], i));
  }
  std::vector<std::vector<int32_t>> alone;
  for (const Request& request : requests) alone.push_back(Run(request));
  std::vector<std::shared_ptr<Collector>> together;
  for (const Request& request : requests) together.push_back(Submit(request));
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(together[i]->Wait().ok());
    EXPECT_EQ(together[i]->tokens(), alone[i]) << "request " << i;
  }
}

TEST_F(EngineTest, PredictedPeakIsMeasuredPeak) {
  Start();
  for (const char* config : kConfigs) {
    for (const int prompt : {1, 15, 64, 80, 333, 1024}) {
      const auto sink = Submit(Greedy(prompt, 70, config));
      ASSERT_TRUE(sink->Wait().ok());
      const Usage usage = sink->usage();
      EXPECT_EQ(usage.generated_tokens, 70);
      EXPECT_EQ(usage.predicted_peak_bytes, usage.measured_peak_bytes) << config << " " << prompt;
    }
  }
}

TEST_F(EngineTest, StatsAlwaysAgreeWithTheArena) {
  Start();
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 6; ++i) sinks.push_back(Submit(Greedy(200 + i, 60, kConfigs[i % 5], i)));
  uint64_t seen = 0;
  // A busy machine, or TSan, may take its time for the first step.
  for (int i = 0; i < 200 || (seen == 0 && i < 20'000); ++i) {
    const EngineStats stats = engine_->Stats();
    uint64_t sum = 0, live = 0;
    for (const auto& [key, bytes] : stats.kv) {
      sum += bytes.allocated_bytes;
      live += bytes.live_bytes;
    }
    EXPECT_EQ(sum, stats.arena_allocated_bytes);
    EXPECT_LE(live, sum);
    uint64_t reserved = 0;
    for (const auto& [label, bytes] : stats.reserved_bytes) reserved += bytes;
    EXPECT_LE(sum, reserved);
    seen = std::max(seen, sum);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (auto& sink : sinks) EXPECT_TRUE(sink->Wait().ok());
  EXPECT_GT(seen, 0u);
  EXPECT_EQ(engine_->Stats().arena_allocated_bytes, 0u);
}

TEST_F(EngineTest, CancelFreesMemory) {
  Start();
  RequestHandle handle{};
  const auto sink = Submit(Greedy(500, 1500, kConfigs[0]), &handle);
  sink->WaitForDeltas(3);
  EXPECT_GT(engine_->Stats().arena_allocated_bytes, 0u);
  engine_->Cancel(handle);
  const absl::Status status = sink->Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  EXPECT_EQ(engine_->Stats().arena_allocated_bytes, 0u);
  EXPECT_GE(sink->usage().generated_tokens, 3);
  EXPECT_LT(sink->usage().generated_tokens, 1500);
  engine_->Cancel(handle);  // a finished request: ignored
  EXPECT_EQ(Run(Greedy(10, 5, kConfigs[0])).size(), 5u);
}

TEST_F(EngineTest, DeadlineEndsARunningRequest) {
  Start();
  Request request = Greedy(100, 1900, kConfigs[1]);
  request.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  const auto sink = Submit(std::move(request));
  EXPECT_EQ(sink->Wait().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(engine_->Stats().arena_allocated_bytes, 0u);
}

TEST_F(EngineTest, ExpiredDeadlineIsRefused) {
  Start();
  Request request = Greedy(100, 10, kConfigs[1]);
  request.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1);
  auto prepared = engine_->Prepare(std::move(request));
  ASSERT_TRUE(prepared.ok());
  const auto submitted = engine_->Submit(*std::move(prepared), std::make_shared<Collector>());
  EXPECT_EQ(submitted.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(EngineTest, RequestsWaitForMemoryAndAllFinish) {
  options_.kv_capacity_bytes = uint64_t{2}
                               << 20;  // one of these requests fits at a time, hardly two
  Start();
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 4; ++i) sinks.push_back(Submit(Greedy(900, 20, kConfigs[0], i)));
  for (auto& sink : sinks) EXPECT_TRUE(sink->Wait().ok());
}

TEST_F(EngineTest, DeadlinePassesInTheQueue) {
  options_.kv_capacity_bytes = uint64_t{2} << 20;
  Start();
  const auto first = Submit(Greedy(900, 1100, kConfigs[0]));
  first->WaitForDeltas(1);  // while both wait, the one with a deadline goes first
  Request late = Greedy(900, 20, kConfigs[0], /*seed=*/1);  // shares nothing with the first
  late.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(30);
  const auto second = Submit(std::move(late));
  EXPECT_EQ(second->Wait().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(second->usage().generated_tokens, 0);
  EXPECT_TRUE(first->Wait().ok());
}

TEST_F(EngineTest, FullQueueIsRefused) {
  options_.kv_capacity_bytes = uint64_t{2} << 20;
  options_.max_queued_requests = 1;
  Start();
  RequestHandle running_handle{};
  const auto running = Submit(Greedy(900, 1100, kConfigs[0]), &running_handle);
  running->WaitForDeltas(1);
  RequestHandle queued_handle{};
  const auto queued = Submit(Greedy(900, 10, kConfigs[0]), &queued_handle);
  auto prepared = engine_->Prepare(Greedy(900, 10, kConfigs[0]));
  ASSERT_TRUE(prepared.ok());
  const auto refused = engine_->Submit(*std::move(prepared), std::make_shared<Collector>());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Reason(refused.status()), "QUEUE_FULL");
  engine_->Cancel(running_handle);
  EXPECT_EQ(running->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(queued->Wait().ok());
}

TEST_F(EngineTest, SeveralSequences) {
  Start();
  Request request = Greedy(100, 20, kConfigs[2]);
  request.num_sequences = 3;
  request.sampling.temperature = 1.0f;
  request.sampling.seed = 11;
  const auto sink = Submit(request);
  ASSERT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->usage().generated_tokens, 60);
  EXPECT_NE(sink->tokens(0), sink->tokens(1));
  EXPECT_EQ(sink->reasons().size(), 3u);
  Request third = request;  // the third continuation is seed + 2 alone
  third.num_sequences = 1;
  third.sampling.seed = 13;
  EXPECT_EQ(Run(third), sink->tokens(2));
}

// With logprobs tokens are chosen from logits on the host, without by the backend: the same ones.
// Both kinds share steps.
TEST_F(EngineTest, LogprobsDoNotChangeWhatIsSampled) {
  Start();
  Request request = Greedy(100, 30, kConfigs[0]);
  request.sampling = {.temperature = 0.9f,
                      .top_k = 50,
                      .top_p = 0.95f,
                      .repetition_penalty = 1.1f,
                      .frequency_penalty = 0.1f,
                      .seed = 7,
                      .logit_bias = {{5, 1.0f}}};
  const auto alone = Run(request);
  EXPECT_EQ(alone.size(), 30u);
  Request with_logprobs = request;
  with_logprobs.sampling.top_logprobs = 3;
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 6; ++i) sinks.push_back(Submit(i % 2 == 0 ? request : with_logprobs));
  for (const auto& sink : sinks) {
    EXPECT_TRUE(sink->Wait().ok());
    EXPECT_EQ(sink->tokens(), alone);
  }
}

TEST_F(EngineTest, StopTokenAndStopString) {
  Start();
  const auto plain = Submit(Greedy(100, 40, kConfigs[0]));
  ASSERT_TRUE(plain->Wait().ok());
  const std::vector<int32_t> tokens = plain->tokens();
  Request by_token = Greedy(100, 40, kConfigs[0]);
  by_token.stopping.stop_tokens = {tokens[10]};
  const auto first = std::find(tokens.begin(), tokens.end(), tokens[10]);
  const auto sink = Submit(by_token);
  ASSERT_TRUE(sink->Wait().ok());
  EXPECT_EQ(sink->tokens(), std::vector<int32_t>(tokens.begin(), first));
  EXPECT_THAT(sink->reasons(), ElementsAre(FinishReason::kStop));
}

TEST_F(EngineTest, DrainFinishesWhatRuns) {
  Start();
  const auto sink = Submit(Greedy(100, 50, kConfigs[0]));
  engine_->Drain(std::chrono::steady_clock::now() + std::chrono::seconds(60));
  EXPECT_TRUE(sink->Wait().ok());
  EXPECT_TRUE(engine_->Stats().draining);
  auto prepared = engine_->Prepare(Greedy(10, 5, kConfigs[0]));
  ASSERT_TRUE(prepared.ok());
  const auto refused = engine_->Submit(*std::move(prepared), std::make_shared<Collector>());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, DrainDeadlineCancelsTheRest) {
  Start();
  const auto sink = Submit(Greedy(100, 1900, kConfigs[0]));
  sink->WaitForDeltas(1);
  engine_->Drain(std::chrono::steady_clock::now());
  EXPECT_EQ(sink->Wait().code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, DestructionEndsRequests) {
  Start();
  const auto sink = Submit(Greedy(100, 1900, kConfigs[0]));
  engine_.reset();
  EXPECT_FALSE(sink->Wait().ok());
}

TEST_F(EngineTest, RefusesWhatCannotRun) {
  Start();
  const auto reason = [&](Request request) {
    const auto prepared = engine_->Prepare(std::move(request));
    EXPECT_FALSE(prepared.ok());
    return Reason(prepared.status());
  };
  EXPECT_EQ(reason(Greedy(0, 5, kConfigs[0])), "EMPTY_PROMPT");
  EXPECT_EQ(reason(Greedy(kContext, 5, kConfigs[0])), "PROMPT_TOO_LONG");
  EXPECT_EQ(reason(Greedy(100, kContext, kConfigs[0])), "MAX_TOKENS_TOO_LARGE");
  EXPECT_EQ(reason(Greedy(100, -1, kConfigs[0])), "MAX_TOKENS_INVALID");
  Request request = Greedy(10, 5, kConfigs[0]);
  request.prompt = std::string("\xff\xfe");
  EXPECT_EQ(reason(request), "INVALID_UTF8");
  request = Greedy(10, 5, kConfigs[0]);
  request.prompt = std::vector<int32_t>{1, 1 << 20};
  EXPECT_EQ(reason(request), "TOKEN_OUT_OF_RANGE");
  request = Greedy(10, 5, kConfigs[0]);
  request.num_sequences = 1000;
  EXPECT_EQ(reason(request), "TOO_MANY_SEQUENCES");
  request = Greedy(10, 5, kConfigs[0]);
  request.kv.accuracy_target = 1.5;
  EXPECT_EQ(reason(request), "ACCURACY_OUT_OF_RANGE");
  request = Greedy(10, 5, "");
  request.kv.memory_budget_bytes = 1000;
  const auto impossible = engine_->Prepare(request);
  EXPECT_EQ(impossible.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Reason(impossible.status()), "NO_FEASIBLE_CONFIG");
  const std::string smallest =
      GetErrorInfo(impossible.status())->metadata.at("smallest_budget_bytes");
  request.kv.memory_budget_bytes = std::stoull(smallest);
  EXPECT_TRUE(engine_->Prepare(request).ok());
  EXPECT_EQ(Run(Greedy(10, 5, kConfigs[0])).size(), 5u);
}

TEST_F(EngineTest, CannotEverFit) {
  options_.kv_capacity_bytes = uint64_t{1} << 20;
  Start();
  const auto prepared = engine_->Prepare(Greedy(1900, 100, kConfigs[0]));
  EXPECT_EQ(prepared.status().code(), absl::StatusCode::kOutOfRange) << prepared.status();
  EXPECT_EQ(Reason(prepared.status()), "KV_EXCEEDS_CAPACITY");
}

TEST_F(EngineTest, DefaultMaxTokensAndContextEnd) {
  options_.default_max_tokens = 33;
  Start();
  EXPECT_EQ(Run(Greedy(10, 0, kConfigs[0])).size(), 33u);
  EXPECT_EQ(Run(Greedy(kContext - 5, 0, kConfigs[2])).size(), 5u);
}

TEST_F(EngineTest, ChatUsesTheTemplate) {
  Start();
  const auto chat =
      engine_->Tokenize(std::vector<ChatMessage>{{.role = "user", .content = "hello"}});
  ASSERT_TRUE(chat.ok()) << chat.status();
  const std::string text = engine_->Detokenize(*chat);
  EXPECT_THAT(text, HasSubstr("<|im_start|>user\nhello<|im_end|>"));
  EXPECT_EQ(chat->front(), support::kImStart);
}

TEST_F(EngineTest, MissingModelAndTruncatedModel) {
  options_.model_path = dir_.File("nothing.gguf");
  EXPECT_EQ(Engine::Create(options_).status().code(), absl::StatusCode::kNotFound);
  const std::string bytes = support::ReadBytes(dir_.File("model.gguf"));
  support::WriteBytes(dir_.File("cut.gguf"), bytes.substr(0, bytes.size() / 2));
  options_.model_path = dir_.File("cut.gguf");
  EXPECT_EQ(Engine::Create(options_).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kvpareto
