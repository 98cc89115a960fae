// Sharing prompts between requests: the same answers, the same bytes once, and nothing left behind.
#include <algorithm>
#include <thread>

#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

// Sealed from the start, with a recent window longer than a block, a sink of no whole block, and
// never sealed at all.
const char* const kConfigs[] = {
    "k=int8-token v=int8-token sink=16 recent=0 chunk=64",
    "k=int4-channel v=int4-token-g32 sink=16 recent=128 chunk=64",
    "k=int4-channel v=int4-token-g32 sink=4 recent=100 chunk=128",
    "k=int8-channel v=int8-token sink=0 recent=0 chunk=64",
    "k=bf16 v=bf16 sink=16 recent=0 chunk=64",
};

class EnginePrefixCacheTest : public EngineTest {
 protected:
  // A request whose prompt begins with `shared` tokens that are the same for all.
  static Request After(int shared, int own, const std::string& config, int seed) {
    Request request = Greedy(shared + own, 20, config, 1000 + seed);
    auto& tokens = std::get<std::vector<int32_t>>(request.prompt);
    const std::vector<int32_t> common = Tokens(shared, 7);
    std::copy(common.begin(), common.end(), tokens.begin());
    return request;
  }

  static Request Uncached(Request request) {
    request.use_prefix_cache = false;
    return request;
  }

  uint64_t Peak(Request request) {
    const auto prepared = engine_->Prepare(std::move(request));
    EXPECT_TRUE(prepared.ok()) << prepared.status();
    return prepared.ok() ? prepared->plan.kv_peak_bytes : 0;
  }

  void ExpectConsistent() {
    const EngineStats stats = engine_->Stats();
    uint64_t allocated = 0, cached = 0;
    for (const auto& [key, bytes] : stats.kv) allocated += bytes.allocated_bytes;
    for (const auto& [config, bytes] : stats.cached_bytes) cached += bytes;
    EXPECT_EQ(allocated + cached, stats.arena_allocated_bytes);
  }

  void StartWithCache(uint64_t bytes = uint64_t{64} << 20) {
    options_.prefix_cache_bytes = bytes;
    Start();
  }
};

TEST_F(EnginePrefixCacheTest, AnswersAreThoseWithoutAHit) {
  StartWithCache();
  for (const char* config : kConfigs) {
    SCOPED_TRACE(config);
    for (int seed = 0; seed < 4; ++seed) {
      const Request request = After(500 + 70 * seed, 30 + seed, config, seed);
      const std::vector<int32_t> expected = Run(Uncached(request));
      const auto sink = Submit(request);
      ASSERT_TRUE(sink->Wait().ok());
      EXPECT_EQ(sink->tokens(), expected);
      EXPECT_EQ(sink->usage().cached_prompt_tokens > 0, seed > 0);
      const auto again = Submit(request);  // all but the last chunk
      ASSERT_TRUE(again->Wait().ok());
      EXPECT_EQ(again->tokens(), expected);
      EXPECT_GE(again->usage().cached_prompt_tokens, 384);
      ExpectConsistent();
    }
  }
}

TEST_F(EnginePrefixCacheTest, RequestsAtOnceComputeACommonPrefixOnce) {
  StartWithCache();
  for (const char* config : kConfigs) {
    SCOPED_TRACE(config);
    std::vector<Request> requests;
    std::vector<std::vector<int32_t>> expected;
    for (int i = 0; i < 8; ++i) {
      requests.push_back(After(600, 20 + 10 * i, config, i));
      expected.push_back(Run(Uncached(requests.back())));
    }
    const uint64_t before = engine_->Stats().prefix_miss_tokens_total;
    std::vector<std::shared_ptr<Collector>> sinks;
    for (const Request& request : requests) sinks.push_back(Submit(request));
    for (int i = 0; i < 8; ++i) {
      ASSERT_TRUE(sinks[i]->Wait().ok());
      EXPECT_EQ(sinks[i]->tokens(), expected[i]) << i;
    }
    const uint64_t computed = engine_->Stats().prefix_miss_tokens_total - before;
    EXPECT_LT(computed, 600u + 8 * (90 + 128)) << "once the common part, each its own rest";
    ExpectConsistent();
  }
}

// Continuations of one request share its prompt with or without the cache, and memory is planned
// so.
TEST_F(EnginePrefixCacheTest, ContinuationsOfARequestShareItsPrompt) {
  for (const uint64_t cache_bytes : {uint64_t{0}, uint64_t{64} << 20}) {
    StartWithCache(cache_bytes);
    for (const char* config : kConfigs) {
      SCOPED_TRACE(config);
      Request request = After(400, 33, config, 1);
      const std::vector<int32_t> expected = Run(Uncached(request));
      const uint64_t one = Peak(request);
      request.num_sequences = 4;
      const auto sink = Submit(request);
      ASSERT_TRUE(sink->Wait().ok());
      for (int i = 0; i < 4; ++i) EXPECT_EQ(sink->tokens(i), expected) << "continuation " << i;
      const Usage usage = sink->usage();
      EXPECT_LE(usage.measured_peak_bytes, usage.predicted_peak_bytes);
      EXPECT_LT(Peak(request), 4 * one);
      ExpectConsistent();
    }
    if (cache_bytes == 0) {
      EXPECT_EQ(engine_->Stats().arena_allocated_bytes, 0u);
    }
  }
}

TEST_F(EnginePrefixCacheTest, SharedBytesAreReservedAndCountedOnce) {
  StartWithCache();
  const auto make = [](int seed) {
    Request request = After(1500, 10, kConfigs[0], seed);
    request.stopping.max_tokens = 100;
    return request;
  };
  options_.kv_capacity_bytes = 4 * Peak(make(0));
  options_.prefix_cache_bytes = options_.kv_capacity_bytes;
  Start();
  // Twice as many as would fit if each had its own copy of the prompt.
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 8; ++i) sinks.push_back(Submit(make(i)));
  int most = 0;
  for (int i = 0; i < 20'000 && most < 8; ++i) {
    const EngineStats stats = engine_->Stats();
    for (const auto& [label, running] : stats.running) most = std::max(most, running);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(most, 8);
  for (auto& sink : sinks) EXPECT_TRUE(sink->Wait().ok());
  ExpectConsistent();
}

TEST_F(EnginePrefixCacheTest, SaltsAndClassesDoNotMeet) {
  StartWithCache();
  Request request = After(300, 10, kConfigs[0], 0);
  Run(request);
  const auto cached = [&](Request other) {
    const auto sink = Submit(std::move(other));
    EXPECT_TRUE(sink->Wait().ok());
    return sink->usage().cached_prompt_tokens;
  };
  EXPECT_EQ(cached(request), 256);
  Request salted = request;
  salted.cache_salt = "tenant";
  EXPECT_EQ(cached(salted), 0);
  EXPECT_EQ(cached(salted), 256);
  Request other_class = request;
  other_class.service_class = "batch";
  EXPECT_EQ(cached(other_class), 0);
  Request other_chunk = request;
  other_chunk.kv.pinned_config = "k=int8-token v=int8-token sink=16 recent=0 chunk=128";
  EXPECT_EQ(cached(other_chunk), 0) << "another chunk reads other keys";
  salted.cache_salt = std::string("a\0b", 3);
  EXPECT_EQ(Reason(engine_->Prepare(salted).status()), "CACHE_SALT_INVALID");
  salted.cache_salt = std::string(kMaxCacheSaltBytes + 1, 'x');
  EXPECT_EQ(Reason(engine_->Prepare(salted).status()), "CACHE_SALT_INVALID");
}

TEST_F(EnginePrefixCacheTest, CacheGivesWayToRequestsAndKeepsItsLimit) {
  StartWithCache();
  const uint64_t one = Peak(After(1000, 10, kConfigs[0], 0));
  options_.kv_capacity_bytes = 2 * one;
  options_.prefix_cache_bytes = one;
  Start();
  for (int i = 0; i < 12; ++i) {
    Run(Greedy(1010, 20, kConfigs[0], i));
    const EngineStats stats = engine_->Stats();
    uint64_t cached = 0;
    for (const auto& [config, bytes] : stats.cached_bytes) cached += bytes;
    EXPECT_LE(cached, one);
    EXPECT_GT(cached, 0u);
    ExpectConsistent();
  }
  EXPECT_GT(engine_->Stats().evicted_bytes_total.at("pinned"), 0u);
  // All of the arena, whatever is cached.
  EXPECT_EQ(Run(Greedy(1900, 20, kConfigs[0], 50)).size(), 20u);
}

TEST_F(EnginePrefixCacheTest, CancelInEveryStateLeavesOthersAlone) {
  StartWithCache();
  const Request keeper = After(900, 40, kConfigs[1], 0);
  const std::vector<int32_t> expected = Run(Uncached(keeper));
  for (int deltas : {0, 0, 0, 1, 5}) {
    std::vector<RequestHandle> handles(4);
    std::vector<std::shared_ptr<Collector>> sinks;
    for (int i = 0; i < 4; ++i) {
      Request request = After(900, 40 + i, kConfigs[1], i);
      request.stopping.max_tokens = 400;
      request.num_sequences = 1 + i % 3;
      sinks.push_back(Submit(request, &handles[i]));
    }
    const auto kept = Submit(keeper);
    if (deltas > 0) sinks[0]->WaitForDeltas(deltas);
    std::this_thread::sleep_for(std::chrono::milliseconds(deltas == 0 ? 3 : 0));
    for (RequestHandle handle : handles) engine_->Cancel(handle);
    ASSERT_TRUE(kept->Wait().ok());
    EXPECT_EQ(kept->tokens(), expected);
    for (auto& sink : sinks) (void)sink->Wait();
    ExpectConsistent();
  }
}

TEST_F(EnginePrefixCacheTest, PromptsShorterThanAChunkAndSinksLongerThanOneAreNotShared) {
  StartWithCache();
  for (const Request& request :
       {Greedy(60, 10, kConfigs[0]), Greedy(64, 10, kConfigs[0]),
        Greedy(500, 10, "k=int8-token v=int8-token sink=100 recent=0 chunk=64")}) {
    EXPECT_EQ(Run(request), Run(request));
  }
  EXPECT_EQ(engine_->Stats().prefix_hit_tokens_total, 0u);
}

}  // namespace
}  // namespace kvpareto
