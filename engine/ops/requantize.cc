#include "engine/ops/requantize.h"

#include <cstring>
#include <vector>

namespace kvpareto {

bool CanRequantize(const kv::BlockLayout& from, const kv::BlockLayout& to) {
  const auto fits = [](kv::CodecId old_codec, kv::CodecId new_codec) {
    return !kv::GetCodecInfo(old_codec).needs_static_range &&
           !kv::GetCodecInfo(new_codec).needs_static_range;
  };
  if (from.num_layers() != to.num_layers() || to.bytes() >= from.bytes()) return false;
  for (int i = 0; i < from.num_layers(); ++i) {
    const kv::LayerLayout& a = from.layer(i);
    const kv::LayerLayout& b = to.layer(i);
    if (b.k_tile_bytes > a.k_tile_bytes || b.v_tile_bytes > a.v_tile_bytes) return false;
    if (!fits(a.k_codec, b.k_codec) || !fits(a.v_codec, b.v_codec)) return false;
  }
  return true;
}

void ForEachTile(const RequantizeItem& item, std::byte* data, int kv_heads, int head_dim,
                 const std::function<void(const RequantizeTile&)>& encode) {
  for (int layer = 0; layer < item.from->num_layers(); ++layer) {
    const kv::LayerLayout& from = item.from->layer(layer);
    const kv::LayerLayout& to = item.to->layer(layer);
    for (const kv::Role role : {kv::Role::kKey, kv::Role::kValue}) {
      const bool key = role == kv::Role::kKey;
      const std::span<const kv::StaticRange> ranges = key ? item.k_ranges : item.v_ranges;
      RequantizeTile tile{.from = key ? from.k_codec : from.v_codec,
                          .to = key ? to.k_codec : to.v_codec,
                          .role = role,
                          .head_dim = head_dim};
      for (int head = 0; head < kv_heads; ++head) {
        tile.source = data + (key ? from.k_offset + head * from.k_tile_bytes
                                  : from.v_offset + head * from.v_tile_bytes);
        tile.destination = data + (key ? to.k_offset + head * to.k_tile_bytes
                                       : to.v_offset + head * to.v_tile_bytes);
        if (!ranges.empty()) tile.range = ranges[layer * kv_heads + head];
        encode(tile);
      }
    }
  }
}

void RequantizeTileScalar(const RequantizeTile& tile) {
  if (tile.from == tile.to) {
    std::memmove(tile.destination, tile.source, kv::TileBytes(tile.to, tile.role, tile.head_dim));
    return;
  }
  std::vector<float> values(size_t{kv::kBlockTokens} * tile.head_dim);
  kv::DecodeTile(tile.from, tile.role, tile.head_dim, {}, tile.source, values.data());
  kv::EncodeTile(tile.to, tile.role, tile.head_dim, tile.range, values.data(), tile.destination);
}

}  // namespace kvpareto
