// fp8 as caches of other servers use it: e4m3 (4 exponent bits, 3 mantissa bits, no infinities)
// with the scale 1.0. Larger magnitudes than 448 saturate, which is what ruins keys with a large
// bias.
//
// Byte layout: the fp8 value of element e (tile.h: ElementIndex) at byte e.
#pragma once

#include <bit>
#include <cstdint>
#include <string>

#include "engine/kv/flat_codec.h"
#include "engine/kv/quantizer.h"

namespace kvpareto::kv {

struct Fp8Codec : FlatCodec<Fp8Codec, 8> {
  static constexpr float kLimit = 448.0f;
  static std::string Name() { return "fp8-e4m3"; }

  static constexpr void Store(std::byte* encoded, size_t index, float x) {
    encoded[index] = std::byte{FromFloat(x)};
  }
  static constexpr float Load(const std::byte* encoded, size_t index) {
    return ToFloat(static_cast<uint8_t>(encoded[index]));
  }

  // Half a unit in the last of 4 significand bits, or half the smallest subnormal, 2^-9.
  static constexpr float ErrorBound(const TileElement& /*element*/, float x) {
    return (x < 0.0f ? -x : x) * 0x1p-4f + 0x1p-10f;
  }

  // To nearest, ties to even; NaN counts as 0.
  static constexpr uint8_t FromFloat(float x) {
    const float saturated = x != x ? 0.0f : x > kLimit ? kLimit : x < -kLimit ? -kLimit : x;
    const uint32_t bits = std::bit_cast<uint32_t>(saturated);
    const uint32_t sign = bits >> 24 & 0x80u;
    const float magnitude = saturated < 0.0f ? -saturated : saturated;
    if (magnitude < 0x1p-6f) {  // subnormal: multiples of 2^-9; 8 of them are the smallest normal
      return static_cast<uint8_t>(sign | static_cast<uint32_t>(RoundToInt(magnitude * 512.0f)));
    }
    const uint32_t rounded = (bits & 0x7fffffffu) + 0x7ffffu + (bits >> 20 & 1u);
    return static_cast<uint8_t>(sign | ((rounded >> 20) - ((127u - 7u) << 3)));
  }

  static constexpr float ToFloat(uint8_t code) {
    const uint32_t sign = (code & 0x80u) << 24;
    const uint32_t magnitude = code & 0x7fu;
    if (magnitude < 8) {
      const float subnormal = static_cast<float>(magnitude) * 0x1p-9f;
      return std::bit_cast<float>(std::bit_cast<uint32_t>(subnormal) | sign);
    }
    return std::bit_cast<float>(sign | ((magnitude + ((127u - 7u) << 3)) << 20));
  }
};

static_assert(Fp8Codec::FromFloat(448.0f) == 0x7e && Fp8Codec::FromFloat(-1e9f) == 0xfe);
static_assert(Fp8Codec::FromFloat(1.0f) == 0x38 && Fp8Codec::ToFloat(0x38) == 1.0f);
static_assert(Fp8Codec::FromFloat(1.0625f) == 0x38 && Fp8Codec::FromFloat(1.1875f) == 0x3a);
static_assert(Fp8Codec::FromFloat(0x1p-10f) == 0 && Fp8Codec::FromFloat(0x1.8p-9f) == 2);
static_assert(Fp8Codec::ToFloat(0x07) == 7 * 0x1p-9f && Fp8Codec::ToFloat(0x08) == 0x1p-6f);

}  // namespace kvpareto::kv
