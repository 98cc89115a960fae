// The bf16 codec: the reference that the others are measured against, and the format of open
// blocks, recent windows and sinks.
//
// Byte layout: bf16 value of element e (tile.h: ElementIndex) at byte 2 * e.
#pragma once

#include <limits>
#include <string>

#include "engine/base/float16.h"
#include "engine/kv/bit_packing.h"
#include "engine/kv/codec.h"
#include "engine/kv/tile.h"

namespace kvpareto::kv {

struct Bf16Codec {
  static constexpr int kBits = 16;
  static constexpr Granularity kGranularity = Granularity::kNone;
  static constexpr int kGroupChannels = 0;
  static constexpr bool kCanBeOpen = true;
  static constexpr float kLimit = std::numeric_limits<float>::infinity();
  static std::string Name() { return "bf16"; }

  static constexpr bool Supports(int head_dim) { return head_dim > 0 && head_dim % 2 == 0; }
  static constexpr TileRegions Regions(Role /*role*/, int head_dim) {
    return FlatRegions(kBits, head_dim);
  }

  // NaN and infinities are kept: the reference hides nothing.
  static constexpr void Encode(Role role, int head_dim, StaticRange /*range*/, const float* tile,
                               std::byte* encoded) {
    for (int token = 0; token < kBlockTokens; ++token) {
      for (int channel = 0; channel < head_dim; ++channel) {
        StoreU16(encoded, ElementIndex(role, token, channel, kBlockTokens, head_dim),
                 FloatToBf16(tile[token * head_dim + channel]));
      }
    }
  }

  static constexpr float At(const TileElement& element) {
    return Bf16ToFloat(LoadU16(element.encoded, element.index()));
  }

  // Half a unit in the last of 8 significand bits, or half the smallest subnormal.
  static constexpr float ErrorBound(const TileElement& /*element*/, float x) {
    return (x < 0.0f ? -x : x) * 0x1p-8f + 0x1p-134f;
  }
};

}  // namespace kvpareto::kv
