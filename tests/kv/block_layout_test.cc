#include "engine/kv/block_layout.h"

#include <gtest/gtest.h>

#include <vector>

namespace kvpareto::kv {
namespace {

TEST(BlockLayoutTest, TilesFollowOneAnotherWithoutGaps) {
  std::vector<LayerCodecs> layers;
  for (int i = 0; i < NumCodecs(); ++i) {
    layers.push_back({CodecId(i), CodecId(NumCodecs() - 1 - i)});
  }
  constexpr int kKvHeads = 3;
  const BlockLayout layout(layers, kKvHeads, 128);
  ASSERT_EQ(layout.num_layers(), NumCodecs());
  size_t expected = 0;
  for (int i = 0; i < layout.num_layers(); ++i) {
    const LayerLayout& layer = layout.layer(i);
    EXPECT_EQ(layer.k_codec, layers[i].k);
    EXPECT_EQ(layer.v_codec, layers[i].v);
    EXPECT_EQ(layer.tile_tokens, kBlockTokens);
    EXPECT_EQ(layer.k_tile_bytes, TileBytes(layers[i].k, Role::kKey, 128));
    EXPECT_EQ(layer.v_tile_bytes, TileBytes(layers[i].v, Role::kValue, 128));
    EXPECT_EQ(layer.k_offset, expected);
    expected += kKvHeads * layer.k_tile_bytes;
    EXPECT_EQ(layer.v_offset, expected);
    expected += kKvHeads * layer.v_tile_bytes;
    EXPECT_EQ(layer.k_offset % kRegionAlignment, 0);
    EXPECT_EQ(layer.v_offset % kRegionAlignment, 0);
  }
  EXPECT_EQ(layout.bytes(), expected);
}

TEST(BlockLayoutTest, Bf16EqualsTheBf16Codec) {
  const std::vector<LayerCodecs> layers(30);
  const BlockLayout by_codec(layers, 3, 64);
  const BlockLayout direct = BlockLayout::Bf16(30, 3, 64);
  EXPECT_EQ(by_codec.bytes(), direct.bytes());
  EXPECT_EQ(direct.bytes(), 30 * 2 * 3 * 64 * 64 * 2);
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(by_codec.layer(i).k_offset, direct.layer(i).k_offset);
    EXPECT_EQ(by_codec.layer(i).v_offset, direct.layer(i).v_offset);
  }
}

TEST(BlockLayoutTest, SinkExtentsHaveTheirOwnTileHeight) {
  const BlockLayout sink = BlockLayout::Bf16(2, 3, 64, 16);
  EXPECT_EQ(sink.bytes(), 2 * 2 * 3 * 16 * 64 * 2);
  EXPECT_EQ(sink.layer(1).tile_tokens, 16);
  EXPECT_EQ(sink.layer(1).k_offset, sink.bytes() / 2);
}

TEST(BlockLayoutTest, OpenTilesOfAnyOpenCodec) {
  const CodecId f32 = *FindCodec("f32");
  const BlockLayout open = BlockLayout::Open(f32, 2, 3, 64, 16);
  EXPECT_EQ(open.bytes(), 2 * 2 * 3 * 16 * 64 * 4);
  EXPECT_EQ(open.layer(1).k_codec, f32);
  EXPECT_EQ(open.layer(1).v_codec, f32);
  EXPECT_EQ(open.layer(1).tile_tokens, 16);
  const std::vector<LayerCodecs> layers(2, LayerCodecs{f32, f32});
  EXPECT_EQ(BlockLayout(layers, 3, 64).bytes(), BlockLayout::Open(f32, 2, 3, 64).bytes());
  for (int i = 0; i < NumCodecs(); ++i) {
    const CodecInfo& info = GetCodecInfo(CodecId(i));
    EXPECT_EQ(info.can_be_open, info.name == "bf16" || info.name == "f32") << info.name;
  }
}

TEST(BlockLayoutTest, NoLayersNoBytes) { EXPECT_EQ(BlockLayout().bytes(), 0); }

}  // namespace
}  // namespace kvpareto::kv
