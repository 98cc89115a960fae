// The f32 codec: values as they were computed. The cache that measurements compare all others with.
//
// Byte layout: the float of element e (tile.h: ElementIndex) at byte 4 * e, little-endian.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <string>

#include "engine/kv/bit_packing.h"
#include "engine/kv/flat_codec.h"

namespace kvpareto::kv {

struct F32Codec : FlatCodec<F32Codec, 32> {
  static constexpr bool kCanBeOpen = true;
  static constexpr float kLimit = std::numeric_limits<float>::infinity();
  static std::string Name() { return "f32"; }

  static constexpr void Store(std::byte* encoded, size_t index, float x) {
    const auto bits = std::bit_cast<uint32_t>(x);
    StoreU16(encoded, 2 * index, static_cast<uint16_t>(bits));
    StoreU16(encoded, 2 * index + 1, static_cast<uint16_t>(bits >> 16));
  }
  static constexpr float Load(const std::byte* encoded, size_t index) {
    const uint32_t low = LoadU16(encoded, 2 * index);
    const uint32_t high = LoadU16(encoded, 2 * index + 1);
    return std::bit_cast<float>(low | high << 16);
  }

  static constexpr float ErrorBound(const TileElement& /*element*/, float /*x*/) { return 0.0f; }
};

}  // namespace kvpareto::kv
