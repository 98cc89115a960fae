// Where each layer's and head's tiles stand inside a block: a function of the KV config alone.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/kv/codec.h"
#include "engine/kv/tile.h"

namespace kvpareto::kv {

struct LayerCodecs {
  CodecId k = CodecId::kBf16;
  CodecId v = CodecId::kBf16;
  friend bool operator==(const LayerCodecs&, const LayerCodecs&) = default;
};

// One layer inside a block. The tile of KV head h begins at k_offset + h * k_tile_bytes (likewise
// v).
struct LayerLayout {
  CodecId k_codec = CodecId::kBf16;
  CodecId v_codec = CodecId::kBf16;
  size_t k_offset = 0;
  size_t v_offset = 0;
  size_t k_tile_bytes = 0;
  size_t v_tile_bytes = 0;
  int tile_tokens = kBlockTokens;  // other than kBlockTokens for sink extents only
};

// Immutable. Layers follow one another; in a layer all K tiles, then all V tiles.
class BlockLayout {
 public:
  BlockLayout() = default;
  // A block of kBlockTokens tokens. One entry of `layers` per model layer.
  BlockLayout(std::span<const LayerCodecs> layers, int kv_heads, int head_dim);

  // One codec that can be open throughout (bf16, or f32 to measure against): open and recent blocks
  // (tile_tokens = kBlockTokens), sink extents (tile_tokens = the sink rounded up to 16), and, with
  // one layer, the prefill chunk's tiles.
  static BlockLayout Open(CodecId codec, int layers, int kv_heads, int head_dim,
                          int tile_tokens = kBlockTokens);
  static BlockLayout Bf16(int layers, int kv_heads, int head_dim, int tile_tokens = kBlockTokens);

  const LayerLayout& layer(int index) const { return layers_[index]; }
  int num_layers() const { return static_cast<int>(layers_.size()); }
  size_t bytes() const { return bytes_; }  // multiple of kRegionAlignment

 private:
  std::vector<LayerLayout> layers_;
  size_t bytes_ = 0;
};

}  // namespace kvpareto::kv
