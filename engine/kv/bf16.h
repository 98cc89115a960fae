// The bf16 codec: the reference that the others are measured against, and the format of open
// blocks, recent windows and sinks.
//
// Byte layout: bf16 value of element e (tile.h: ElementIndex) at byte 2 * e.
#pragma once

#include <limits>
#include <string>

#include "engine/base/float16.h"
#include "engine/kv/bit_packing.h"
#include "engine/kv/flat_codec.h"

namespace kvpareto::kv {

struct Bf16Codec : FlatCodec<Bf16Codec, 16> {
  static constexpr bool kCanBeOpen = true;
  static constexpr float kLimit = std::numeric_limits<float>::infinity();
  static std::string Name() { return "bf16"; }

  // NaN and infinities are kept: the reference hides nothing.
  static constexpr void Store(std::byte* encoded, size_t index, float x) {
    StoreU16(encoded, index, FloatToBf16(x));
  }
  static constexpr float Load(const std::byte* encoded, size_t index) {
    return Bf16ToFloat(LoadU16(encoded, index));
  }

  // Half a unit in the last of 8 significand bits, or half the smallest subnormal.
  static constexpr float ErrorBound(const TileElement& /*element*/, float x) {
    return (x < 0.0f ? -x : x) * 0x1p-8f + 0x1p-134f;
  }
};

}  // namespace kvpareto::kv
