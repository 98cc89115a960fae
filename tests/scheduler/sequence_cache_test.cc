// The sequence cache against the rule of kv/footprint.h: what it allocates, where tokens go, what a
// step reads, and that nothing is lost or leaked.
#include "engine/scheduler/sequence_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace kvpareto {
namespace {

using kv::kBlockTokens;

ModelConfig SmallModel() {
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

struct Case {
  std::string config;
  std::vector<int> steps;  // new tokens of each step
};

// Reads cover positions [0, tokens + new) once and in order; stores cover the new ones; seals are
// whole.
void ExpectReadsAndStores(const SequenceStep& step, int64_t tokens, int new_tokens) {
  int64_t position = 0;
  for (const BlockSpan& span : step.reads) {
    EXPECT_EQ(span.first_position, position);
    EXPECT_GT(span.num_tokens, 0);
    position += span.num_tokens;
  }
  EXPECT_EQ(position, tokens + new_tokens);
  int64_t stored = tokens;
  for (const auto& store : step.stores) {
    EXPECT_EQ(store.destination.first_position, stored);
    EXPECT_EQ(store.first_row, 7 + (stored - tokens));
    stored += store.destination.num_tokens;
  }
  EXPECT_EQ(stored, tokens + new_tokens);
  for (const auto& seal : step.seals) {
    EXPECT_EQ(seal.source.num_tokens, kBlockTokens);
    EXPECT_EQ(seal.source.first_slot, 0);
    EXPECT_EQ(seal.source.first_position, seal.destination.first_position);
  }
}

class SequenceCacheTest : public ::testing::TestWithParam<Case> {
 protected:
  static constexpr size_t kCapacity = size_t{32} << 20;

  SequenceCacheTest()
      : memory_(kCapacity),
        arena_(Aligned(), kCapacity / 2,
               [](std::byte* to, const std::byte* from, size_t n) { std::memmove(to, from, n); }),
        chunk_layout_(kv::BlockLayout::Bf16(1, 1, 64)) {}

  std::byte* Aligned() {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    return memory_.data() + (kv::AlignUp(address) - address);
  }

  std::vector<std::byte> memory_;
  kv::Arena arena_;
  kv::BlockLayout chunk_layout_;
};

TEST_P(SequenceCacheTest, FollowsTheFootprint) {
  const ModelConfig model = SmallModel();
  const auto config = KvConfig::Parse(GetParam().config);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto format = std::make_shared<const CacheFormat>(*config, model);
  ASSERT_TRUE(arena_.Reserve(kCapacity / 2));
  size_t max_allocated = 0;
  {
    SequenceCache cache(format, &arena_);
    int64_t tokens = 0;
    for (int step_tokens : GetParam().steps) {
      SCOPED_TRACE(testing::Message() << "at " << tokens << " + " << step_tokens);
      cache.Allocate(step_tokens);
      EXPECT_EQ(cache.allocated_bytes(),
                kv::StepPeakBytes(format->footprint, tokens, tokens + step_tokens));
      EXPECT_EQ(arena_.stats().allocated_bytes, cache.allocated_bytes());
      max_allocated = std::max(max_allocated, cache.allocated_bytes());

      int chunk_tiles = 0;
      const SequenceStep step = cache.Describe(7, [&] {
        ++chunk_tiles;
        return BlockSpan{.layout = &chunk_layout_, .one_layer = true};
      });
      EXPECT_EQ(step.first_row, 7);
      EXPECT_EQ(step.num_rows, step_tokens);
      EXPECT_LE(chunk_tiles * kBlockTokens, step_tokens);
      ExpectReadsAndStores(step, tokens, step_tokens);

      cache.EndStep();
      tokens += step_tokens;
      EXPECT_EQ(cache.num_tokens(), tokens);
      EXPECT_EQ(cache.allocated_bytes(),
                kv::ResidencyBytes(format->footprint, kv::ResidencyAt(format->footprint, tokens)));
      EXPECT_EQ(arena_.stats().allocated_bytes, cache.allocated_bytes());
      EXPECT_LE(cache.live_bytes(), cache.allocated_bytes());
    }
    EXPECT_EQ(cache.peak_bytes(), max_allocated);
  }
  EXPECT_EQ(arena_.stats().allocated_bytes, 0u);
  EXPECT_EQ(arena_.stats().extents, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Configs, SequenceCacheTest,
    ::testing::Values(
        Case{"k=bf16 v=bf16 sink=0 recent=0 chunk=64", {1, 62, 1, 1, 64, 64, 63, 1, 1}},
        Case{"k=int4-channel v=int4-token sink=0 recent=0 chunk=256", {256, 256, 100, 1, 1, 1}},
        Case{"k=int4-channel v=int4-token sink=16 recent=0 chunk=256", {5, 5, 5, 5, 256, 1, 60, 1}},
        Case{"k=int8-token v=int2-token-g32 sink=16 recent=128 chunk=256",
             {256, 256, 256, 17, 1, 1, 1, 1}},
        Case{"k=int4-token v=int4-token sink=100 recent=100 chunk=128", {64, 64, 64, 128, 128, 1}},
        Case{"k=int4-block v=int4-block sink=0 recent=1000 chunk=512", {512, 512, 512, 512, 1}}),
    [](const auto& info) { return "Case" + std::to_string(info.index); });

TEST(SequenceCacheDecodeTest, TokenByTokenMatchesThePrediction) {
  const ModelConfig model = SmallModel();
  for (const char* text : {"k=int4-token v=int4-token sink=16 recent=0 chunk=64",
                           "k=int4-token v=int4-token sink=3 recent=130 chunk=128",
                           "k=bf16 v=bf16 sink=16 recent=0 chunk=64"}) {
    SCOPED_TRACE(text);
    const auto config = KvConfig::Parse(text);
    ASSERT_TRUE(config.ok()) << config.status();
    const auto format = std::make_shared<const CacheFormat>(*config, model);
    std::vector<std::byte> memory((size_t{8} << 20) + kv::kRegionAlignment);
    auto* base =
        reinterpret_cast<std::byte*>(kv::AlignUp(reinterpret_cast<uintptr_t>(memory.data())));
    kv::Arena arena(base, size_t{8} << 20, [](std::byte* to, const std::byte* from, size_t n) {
      std::memmove(to, from, n);
    });
    const size_t predicted =
        kv::PredictPeakBytes(format->footprint, 300, 700, config->prefill_chunk_tokens);
    // Reserving exactly what is predicted is enough: Allocate would abort otherwise.
    ASSERT_TRUE(arena.Reserve(predicted));
    SequenceCache cache(format, &arena);
    while (cache.num_tokens() < 700) {
      const int64_t left = 300 - cache.num_tokens();
      cache.Allocate(left > 0 ? std::min<int64_t>(left, config->prefill_chunk_tokens) : 1);
      cache.EndStep();
    }
    EXPECT_EQ(cache.peak_bytes(), predicted);
  }
}

}  // namespace
}  // namespace kvpareto
