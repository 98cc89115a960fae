// Integer codes with a scale on both axes (after KVarN, arXiv 2606.03458): x~ = (code - zero) *
// scale * factor. Keys have scales and zero points per channel and factors per token, values scales
// and zero points per token and factors per channel. So a token (channel) that is louder than the
// others no longer widens the step of all channels (tokens). equalize.h finds the factors; then the
// tile divided by them is quantized as IntCodec does.
//
// Byte layout of a tile: that of the inner codec, then
//
//   factor_offset   factors, fp16 [kBlockTokens] of keys, [head_dim] of values
//   bytes           the end, rounded up to kRegionAlignment; the padding is zero
//
// Example, int4-dual keys at head_dim 128: codes 0..4095, 128 scales 4096..4351, 128 zero points
// 4352..4607, 64 factors 4608..4735: 4.625 bits per element.
#pragma once

#include <string>

#include "engine/kv/equalize.h"
#include "engine/kv/granularity.h"
#include "engine/kv/int_codec.h"

namespace kvpareto::kv {

template <int kBitsPerCode>
struct DualCodec {
  using Keys = IntCodec<kBitsPerCode, PerChannel>;
  using Values = IntCodec<kBitsPerCode, PerToken<0>>;
  using Packing = BitPacking<kBitsPerCode>;
  static constexpr int kBits = kBitsPerCode;
  static constexpr Granularity kGranularity = Granularity::kDual;
  static constexpr int kGroupChannels = 0;
  static constexpr float kLimit = kMaxMagnitude;
  static std::string Name() { return "int" + std::to_string(kBits) + "-dual"; }

  static constexpr bool Supports(int head_dim) {
    return head_dim <= kMaxMembers && Keys::Supports(head_dim);
  }
  static constexpr TileRegions Regions(Role role, int head_dim) {
    const bool key = role == Role::kKey;
    TileRegions regions = key ? Keys::Regions(role, head_dim) : Values::Regions(role, head_dim);
    regions.factors = key ? kBlockTokens : head_dim;
    regions.factor_offset = regions.bytes;
    regions.bytes += AlignUp(size_t{2} * regions.factors);
    return regions;
  }

  static void Encode(Role role, int head_dim, StaticRange range, const float* tile,
                     std::byte* encoded) {
    const TileRegions regions = Regions(role, head_dim);
    for (size_t i = regions.factor_offset; i < regions.bytes; ++i) encoded[i] = std::byte{0};
    const bool key = role == Role::kKey;
    GroupView view = {.tile = tile,
                      .groups = kBlockTokens,
                      .members = head_dim,
                      .group_stride = head_dim,
                      .member_stride = 1};
    if (key) {
      view = {.tile = tile,
              .groups = head_dim,
              .members = kBlockTokens,
              .group_stride = 1,
              .member_stride = head_dim};
    }
    float factors[kMaxMembers];
    EqualizeMembers(view, factors);
    for (int m = 0; m < regions.factors; ++m) {
      StoreU16(encoded + regions.factor_offset, m, FloatToF16(factors[m]));
    }
    float level[kBlockTokens * kMaxMembers];
    for (int t = 0; t < kBlockTokens; ++t) {
      for (int c = 0; c < head_dim; ++c) {
        level[t * head_dim + c] = Saturate(tile[t * head_dim + c]) / factors[key ? t : c];
      }
    }
    key ? Keys::Encode(role, head_dim, range, level, encoded)
        : Values::Encode(role, head_dim, range, level, encoded);
  }

  static constexpr void Decode(Role role, int head_dim, StaticRange range, const std::byte* encoded,
                               float* tile) {
    const bool key = role == Role::kKey;
    key ? Keys::Decode(role, head_dim, range, encoded, tile)
        : Values::Decode(role, head_dim, range, encoded, tile);
    const std::byte* const factors = encoded + Regions(role, head_dim).factor_offset;
    for (int t = 0; t < kBlockTokens; ++t) {
      for (int c = 0; c < head_dim; ++c) {
        tile[t * head_dim + c] *= F16ToFloat(LoadU16(factors, key ? t : c));
      }
    }
  }

  static constexpr float At(const TileElement& element) {
    const bool key = element.role == Role::kKey;
    return (key ? Keys::At(element) : Values::At(element)) * LoadFactor(element);
  }

  // Half a step: scale * factor / 2; dividing and multiplying by the factor rounds twice more than
  // the inner codec does, 2^-9 of a step each.
  static constexpr float ErrorBound(const TileElement& element, float x) {
    const float level =
        element.role == Role::kKey ? Keys::ErrorBound(element, x) : Values::ErrorBound(element, x);
    return level * LoadFactor(element) * (1.0f + 0x1p-6f);
  }

 private:
  static constexpr float LoadFactor(const TileElement& element) {
    const TileRegions regions = Regions(element.role, element.head_dim);
    return F16ToFloat(LoadU16(element.encoded + regions.factor_offset,
                              element.role == Role::kKey ? element.token : element.channel));
  }
};

}  // namespace kvpareto::kv
