#include "engine/kv/block_layout.h"

#include "engine/kv/bf16.h"

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

BlockLayout BlockLayout::Bf16(int layers, int kv_heads, int head_dim, int tile_tokens) {
  BlockLayout layout;
  layout.layers_.reserve(layers);
  for (int i = 0; i < layers; ++i) {
    LayerLayout layer;
    layer.k_tile_bytes = layer.v_tile_bytes = Bf16TileBytes(tile_tokens, head_dim);
    layer.tile_tokens = tile_tokens;
    layout.bytes_ = Place(layer, layout.bytes_, kv_heads);
    layout.layers_.push_back(layer);
  }
  return layout;
}

}  // namespace kvpareto::kv
