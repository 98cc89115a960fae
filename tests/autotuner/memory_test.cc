#include "autotuner/memory.h"

#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

ModelConfig Model() {
  ModelConfig model;
  model.layers = 3;
  model.kv_heads = 2;
  model.head_dim = 64;
  return model;
}

constexpr uint64_t kBf16TokenBytes = 3 * 2 * 64 * 2 * 2;  // layers, KV heads, head size, K and V

TEST(CostOfTest, Bf16) {
  KvConfig config = KvConfig::Bf16(256);
  config.sink_tokens = 16;
  const MemoryCost cost = CostOf(config, Model());
  EXPECT_EQ(cost.bytes_per_token, kBf16TokenBytes);
  EXPECT_EQ(cost.fixed_bytes, (16 + 64) * kBf16TokenBytes);
}

TEST(CostOfTest, Int4) {
  const auto config = KvConfig::Parse("k=int4-channel v=int4-token sink=16 recent=0 chunk=256");
  ASSERT_TRUE(config.ok());
  const MemoryCost cost = CostOf(*config, Model());
  // Half a byte per code, and 4 bytes of scale and zero point per channel or token of a tile.
  const double tile_bytes = 64 * 64 / 2 + 64 * 4;
  EXPECT_EQ(cost.bytes_per_token, 3 * 2 * 2 * tile_bytes / 64);
  EXPECT_EQ(cost.fixed_bytes, (16 + 64) * kBf16TokenBytes);
}

TEST(CostOfTest, RecentWindowsKeepWholeBlocks) {
  for (const auto& [recent, blocks] :
       std::vector<std::pair<int, int>>{{1, 1}, {2, 2}, {65, 2}, {66, 3}, {128, 3}}) {
    const auto config = KvConfig::Parse("k=int4-channel v=int4-token sink=0 chunk=256 recent=" +
                                        std::to_string(recent));
    ASSERT_TRUE(config.ok());
    EXPECT_EQ(CostOf(*config, Model()).fixed_bytes, blocks * 64 * kBf16TokenBytes) << recent;
  }
}

}  // namespace
}  // namespace kvpareto::tune
