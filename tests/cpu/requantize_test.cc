// Re-encoding blocks where they stand: on every instruction set the bytes of the definition, as if
// there had been a second block to write to.
#include "engine/ops/requantize.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/cpu/attention.h"
#include "tests/cpu/available_isas.h"

namespace kvpareto::cpu {
namespace {

constexpr int kLayers = 3, kKvHeads = 2, kBlocks = 5;

struct Case {
  std::string from, to;
  int head_dim;
};

std::vector<kv::LayerCodecs> Layers(const std::string& name) {
  const kv::CodecId codec = kv::FindCodec(name).value();
  return std::vector<kv::LayerCodecs>(kLayers, {codec, codec});
}

struct FreeBytes {
  void operator()(std::byte* data) const { std::free(data); }
};
using Bytes = std::unique_ptr<std::byte, FreeBytes>;

Bytes Allocate(size_t bytes) {
  return Bytes(static_cast<std::byte*>(std::aligned_alloc(kv::kRegionAlignment, bytes)));
}

class RequantizeTest : public ::testing::TestWithParam<Case> {
 protected:
  RequantizeTest()
      : from_(Layers(GetParam().from), kKvHeads, GetParam().head_dim),
        to_(Layers(GetParam().to), kKvHeads, GetParam().head_dim) {}

  // A block of random values.
  void Fill(std::byte* block, uint32_t seed) const {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.3f, 2.0f);
    std::vector<float> tile(size_t{kv::kBlockTokens} * GetParam().head_dim);
    ForEachTile({.data = block, .from = &from_, .to = &from_}, block, kKvHeads, GetParam().head_dim,
                [&](const RequantizeTile& t) {
                  for (float& x : tile) x = normal(random);
                  kv::EncodeTile(t.from, t.role, t.head_dim, {}, tile.data(), t.destination);
                });
  }

  // The same block under `to_`, written elsewhere.
  std::vector<std::byte> Expected(std::byte* block) const {
    Bytes result = Allocate(to_.bytes());
    std::memset(result.get(), 0, to_.bytes());
    ForEachTile({.data = block, .from = &from_, .to = &to_}, block, kKvHeads, GetParam().head_dim,
                [&](RequantizeTile tile) {
                  tile.destination = result.get() + (tile.destination - block);
                  RequantizeTileScalar(tile);
                });
    return {result.get(), result.get() + to_.bytes()};
  }

  kv::BlockLayout from_, to_;
};

TEST_P(RequantizeTest, IsTheDefinitionInPlaceOnEveryInstructionSet) {
  ASSERT_TRUE(CanRequantize(from_, to_));
  EXPECT_FALSE(CanRequantize(to_, from_)) << "blocks do not grow";
  for (const Isa isa : AvailableIsas()) {
    SCOPED_TRACE(Name(isa));
    std::vector<Bytes> blocks;
    std::vector<std::vector<std::byte>> expected;
    std::vector<RequantizeItem> items;
    for (int i = 0; i < kBlocks; ++i) {
      blocks.push_back(Allocate(from_.bytes()));
      Fill(blocks.back().get(), i);
      expected.push_back(Expected(blocks.back().get()));
      items.push_back({.data = blocks.back().get(), .from = &from_, .to = &to_});
    }
    ThreadPool pool(2);
    Requantize(isa, pool, {.kv_heads = kKvHeads, .head_dim = GetParam().head_dim, .items = items});
    for (int i = 0; i < kBlocks; ++i) {
      ASSERT_EQ(std::memcmp(blocks[i].get(), expected[i].data(), to_.bytes()), 0) << "block " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Pairs, RequantizeTest,
                         ::testing::Values(Case{"bf16", "int8-channel", 64},
                                           Case{"bf16", "int4-token-g32", 64},
                                           Case{"bf16", "int2-token-g32", 128},
                                           Case{"int8-token", "int4-channel", 64},
                                           Case{"int8-channel", "int4-token", 32},
                                           Case{"int4-token-g32", "int2-channel", 64},
                                           Case{"int8-block", "int3-channel", 128}),
                         [](const auto& info) { return "Case" + std::to_string(info.index); });

TEST(CanRequantizeTest, RefusesWhatWouldGrowSomewhere) {
  std::vector<kv::LayerCodecs> mixed = Layers("int4-channel");
  mixed[1].v = kv::FindCodec("bf16").value();
  const kv::BlockLayout from(Layers("int8-channel"), kKvHeads, 64);
  const kv::BlockLayout to(mixed, kKvHeads, 64);
  ASSERT_LT(to.bytes(), from.bytes());
  EXPECT_FALSE(CanRequantize(from, to)) << "one tile is larger than before";
  EXPECT_FALSE(CanRequantize(from, from));
}

}  // namespace
}  // namespace kvpareto::cpu
