// k-smooth of KV Pareto (arXiv 2512.01953, after SageAttention): the mean of every channel over the
// tile's tokens is taken out before quantization and put back after it. Kept as a baseline; a
// transform that centres by a calibrated mean (transform.h) does as well and stores nothing.
//
// Byte layout of a tile: that of the inner codec, then
//
//   factor_offset   means, fp16 [head_dim]   = the inner codec's bytes
//   bytes           the end, rounded up to kRegionAlignment; the padding is zero
//
// Example, int4-token-g64-smooth at head_dim 64: the 2304 bytes of int4-token-g64, 64 means
// 2304..2431: 4.75 bits per element.
#pragma once

#include <string>

#include "engine/base/float16.h"
#include "engine/kv/bit_packing.h"
#include "engine/kv/codec.h"
#include "engine/kv/quantizer.h"
#include "engine/kv/tile.h"

namespace kvpareto::kv {

template <typename InnerCodec>
struct Smoothed {
  using Packing = typename InnerCodec::Packing;
  static constexpr int kBits = InnerCodec::kBits;
  static constexpr Granularity kGranularity = InnerCodec::kGranularity;
  static constexpr int kGroupChannels = InnerCodec::kGroupChannels;
  static constexpr float kLimit = InnerCodec::kLimit;
  static constexpr int kMaxHeadDim = 256;
  static std::string Name() { return InnerCodec::Name() + "-smooth"; }

  static constexpr bool Supports(int head_dim) {
    return head_dim <= kMaxHeadDim && InnerCodec::Supports(head_dim);
  }
  static constexpr TileRegions Regions(Role role, int head_dim) {
    TileRegions regions = InnerCodec::Regions(role, head_dim);
    regions.factors = head_dim;
    regions.factor_offset = regions.bytes;
    regions.bytes += AlignUp(size_t{2} * head_dim);
    return regions;
  }

  static constexpr void Encode(Role role, int head_dim, StaticRange range, const float* tile,
                               std::byte* encoded) {
    const TileRegions regions = Regions(role, head_dim);
    for (size_t i = regions.factor_offset; i < regions.bytes; ++i) encoded[i] = std::byte{0};
    float smooth[kBlockTokens * kMaxHeadDim];
    for (int c = 0; c < head_dim; ++c) {
      const uint16_t mean = Mean(head_dim, tile + c);
      StoreU16(encoded + regions.factor_offset, c, mean);
      for (int t = 0; t < kBlockTokens; ++t) {
        smooth[t * head_dim + c] = Saturate(tile[t * head_dim + c]) - F16ToFloat(mean);
      }
    }
    InnerCodec::Encode(role, head_dim, range, smooth, encoded);
  }

  static constexpr void Decode(Role role, int head_dim, StaticRange range, const std::byte* encoded,
                               float* tile) {
    InnerCodec::Decode(role, head_dim, range, encoded, tile);
    for (int t = 0; t < kBlockTokens; ++t) {
      for (int c = 0; c < head_dim; ++c) {
        tile[t * head_dim + c] += LoadMean(role, head_dim, encoded, c);
      }
    }
  }

  static constexpr float At(const TileElement& element) {
    return InnerCodec::At(element) +
           LoadMean(element.role, element.head_dim, element.encoded, element.channel);
  }

  // The inner codec's, and the rounding of taking the mean out and putting it back.
  static constexpr float ErrorBound(const TileElement& element, float x) {
    const float mean = LoadMean(element.role, element.head_dim, element.encoded, element.channel);
    return InnerCodec::ErrorBound(element, x) +
           0x1p-23f * ((x < 0.0f ? -x : x) + (mean < 0.0f ? -mean : mean));
  }

 private:
  static constexpr float LoadMean(Role role, int head_dim, const std::byte* encoded, int channel) {
    return F16ToFloat(LoadU16(encoded + Regions(role, head_dim).factor_offset, channel));
  }

  // The fp16 mean of one channel, moved towards zero where a value's distance from it would exceed
  // kMaxMagnitude: such distances would saturate in the inner codec. Zero always keeps them below.
  static constexpr uint16_t Mean(int head_dim, const float* channel) {
    float sum = 0.0f;
    Extremes extremes;
    for (int t = 0; t < kBlockTokens; ++t) {
      const float x = Saturate(channel[t * head_dim]);
      sum += x;
      extremes.min = x < extremes.min ? x : extremes.min;
      extremes.max = x > extremes.max ? x : extremes.max;
    }
    const float low = extremes.max - kMaxMagnitude;
    const float high = extremes.min + kMaxMagnitude;
    const float mean = sum / kBlockTokens;
    const uint16_t half = FloatToF16(mean < low ? low : mean > high ? high : mean);
    const float stored = F16ToFloat(half);
    return static_cast<uint16_t>(stored < low || stored > high ? half - 1 : half);
  }
};

}  // namespace kvpareto::kv
