// The f32 codec: values as they were computed. The cache that measurements compare all others with.
//
// Byte layout: the float of element e (tile.h: ElementIndex) at byte 4 * e, little-endian.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <string>

#include "engine/kv/bit_packing.h"
#include "engine/kv/codec.h"
#include "engine/kv/tile.h"

namespace kvpareto::kv {

struct F32Codec {
  static constexpr int kBits = 32;
  static constexpr Granularity kGranularity = Granularity::kNone;
  static constexpr int kGroupChannels = 0;
  static constexpr bool kCanBeOpen = true;
  static constexpr float kLimit = std::numeric_limits<float>::infinity();
  static std::string Name() { return "f32"; }

  static constexpr bool Supports(int head_dim) { return head_dim > 0 && head_dim % 2 == 0; }
  static constexpr TileRegions Regions(Role /*role*/, int head_dim) {
    return FlatRegions(kBits, head_dim);
  }

  static constexpr void Encode(Role role, int head_dim, StaticRange /*range*/, const float* tile,
                               std::byte* encoded) {
    for (int token = 0; token < kBlockTokens; ++token) {
      for (int channel = 0; channel < head_dim; ++channel) {
        const size_t element = ElementIndex(role, token, channel, kBlockTokens, head_dim);
        const auto bits = std::bit_cast<uint32_t>(tile[token * head_dim + channel]);
        StoreU16(encoded, 2 * element, static_cast<uint16_t>(bits));
        StoreU16(encoded, 2 * element + 1, static_cast<uint16_t>(bits >> 16));
      }
    }
  }

  static constexpr float At(const TileElement& element) {
    const size_t index = element.index();
    const uint32_t low = LoadU16(element.encoded, 2 * index);
    const uint32_t high = LoadU16(element.encoded, 2 * index + 1);
    return std::bit_cast<float>(low | high << 16);
  }

  static constexpr float ErrorBound(const TileElement& /*element*/, float /*x*/) { return 0.0f; }
};

}  // namespace kvpareto::kv
