#include "engine/kv/block_layout.h"

#include "engine/base/check.h"

namespace kvpareto::kv {
namespace {

// Places `layer` behind the layers so far; returns where it ends.
size_t Place(LayerLayout& layer, size_t begin, int kv_heads) {
  layer.k_offset = begin;
  layer.v_offset = layer.k_offset + layer.k_tile_bytes * kv_heads;
  return layer.v_offset + layer.v_tile_bytes * kv_heads;
}

}  // namespace

BlockLayout::BlockLayout(std::span<const LayerCodecs> layers, int kv_heads, int head_dim) {
  layers_.reserve(layers.size());
  for (const LayerCodecs& codecs : layers) {
    LayerLayout layer;
    layer.k_codec = codecs.k;
    layer.v_codec = codecs.v;
    layer.k_tile_bytes = TileBytes(codecs.k, Role::kKey, head_dim);
    layer.v_tile_bytes = TileBytes(codecs.v, Role::kValue, head_dim);
    bytes_ = Place(layer, bytes_, kv_heads);
    layers_.push_back(layer);
  }
}

BlockLayout BlockLayout::Open(CodecId codec, int layers, int kv_heads, int head_dim,
                              int tile_tokens) {
  const CodecInfo& info = GetCodecInfo(codec);
  KVP_CHECK(info.can_be_open) << info.name;
  BlockLayout layout;
  layout.layers_.reserve(layers);
  for (int i = 0; i < layers; ++i) {
    LayerLayout layer;
    layer.k_codec = layer.v_codec = codec;
    layer.k_tile_bytes = layer.v_tile_bytes =
        AlignUp(size_t{1} * tile_tokens * head_dim * info.bits / 8);
    layer.tile_tokens = tile_tokens;
    layout.bytes_ = Place(layer, layout.bytes_, kv_heads);
    layout.layers_.push_back(layer);
  }
  return layout;
}

BlockLayout BlockLayout::Bf16(int layers, int kv_heads, int head_dim, int tile_tokens) {
  return Open(CodecId::kBf16, layers, kv_heads, head_dim, tile_tokens);
}

}  // namespace kvpareto::kv
