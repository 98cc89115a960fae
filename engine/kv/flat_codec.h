// What codecs have in common that store every element by itself: no scales, `kBits` per element in
// element order (tile.h). A codec derives from FlatCodec<itself, bits> and says how one element is
// stored and read: Store(encoded, index, x) and Load(encoded, index); besides Name, kLimit and
// ErrorBound.
#pragma once

#include <cstddef>

#include "engine/kv/codec.h"
#include "engine/kv/tile.h"

namespace kvpareto::kv {

template <typename Codec, int kBitsPerElement>
struct FlatCodec {
  static constexpr int kBits = kBitsPerElement;
  static constexpr Granularity kGranularity = Granularity::kNone;
  static constexpr int kGroupChannels = 0;

  static constexpr bool Supports(int head_dim) { return head_dim > 0 && head_dim % 2 == 0; }
  static constexpr TileRegions Regions(Role /*role*/, int head_dim) {
    return FlatRegions(kBits, head_dim);
  }

  static constexpr void Encode(Role role, int head_dim, StaticRange /*range*/, const float* tile,
                               std::byte* encoded) {
    for (int token = 0; token < kBlockTokens; ++token) {
      for (int channel = 0; channel < head_dim; ++channel) {
        Codec::Store(encoded, ElementIndex(role, token, channel, kBlockTokens, head_dim),
                     tile[token * head_dim + channel]);
      }
    }
  }

  static constexpr float At(const TileElement& element) {
    return Codec::Load(element.encoded, element.index());
  }
};

}  // namespace kvpareto::kv
