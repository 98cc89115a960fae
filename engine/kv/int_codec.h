// The integer codecs: bits {8, 6, 4, 3, 2} x granularity (granularity.h), by the quantizer of
// quantizer.h.
//
// Byte layout of a tile of kBlockTokens x head_dim elements, numbered by ElementIndex (tile.h):
//
//   0             codes, unsigned, packed as bit_packing.h says; CodeBytes
//   ScaleOffset   scales, fp16 [Groups]      = CodeBytes rounded up to kRegionAlignment
//   ZeroOffset    zero points, int16 [Groups]  directly after the scales
//   TileBytes     the end, rounded up to kRegionAlignment; the padding is zero
//
// Scales have a region of their own because inline ones would break the alignment of every code
// load. Per-tensor codecs end after the codes. Example, int4-token-g64 at head_dim 64: codes
// 0..2047, 64 scales 2048..2175, 64 zero points 2176..2303: 4.5 bits per element.
#pragma once

#include <string>

#include "engine/kv/bit_packing.h"
#include "engine/kv/codec.h"
#include "engine/kv/granularity.h"
#include "engine/kv/quantizer.h"
#include "engine/kv/tile.h"

namespace kvpareto::kv {

template <int kBitsPerCode, typename GroupPolicy>
struct IntCodec {
  using Policy = GroupPolicy;
  using Packing = BitPacking<kBitsPerCode>;
  static constexpr int kBits = kBitsPerCode;
  static constexpr int kMaxCode = MaxCode<kBits>();
  static constexpr float kLimit = kMaxMagnitude;
  static constexpr Granularity kGranularity = Policy::kGranularity;
  static constexpr int kGroupChannels = Policy::kGroupChannels;
  static constexpr bool kStaticRange = kGranularity == Granularity::kPerTensor;
  static std::string Name() { return "int" + std::to_string(kBits) + "-" + Policy::Suffix(); }

  static constexpr bool Supports(int head_dim) {
    return head_dim > 0 && head_dim % 2 == 0 && Policy::Supports(head_dim);
  }
  // Stored scales (and zero points).
  static constexpr int Groups(int head_dim) { return kStaticRange ? 0 : Policy::Groups(head_dim); }
  static constexpr size_t CodeBytes(int head_dim) {
    return Packing::Bytes(kBlockTokens * head_dim);
  }
  static constexpr size_t ScaleOffset(int head_dim) { return AlignUp(CodeBytes(head_dim)); }
  static constexpr size_t ZeroOffset(int head_dim) {
    return ScaleOffset(head_dim) + size_t{2} * Groups(head_dim);
  }
  static constexpr size_t TileBytes(int head_dim) {
    return AlignUp(ZeroOffset(head_dim) + size_t{2} * Groups(head_dim));
  }

  static constexpr TileRegions Regions(Role /*role*/, int head_dim) {
    return {.code_bytes = CodeBytes(head_dim),
            .groups = Groups(head_dim),
            .scale_offset = ScaleOffset(head_dim),
            .zero_offset = ZeroOffset(head_dim),
            .bytes = TileBytes(head_dim)};
  }

  static constexpr QuantParams StaticParams(StaticRange range) {
    return FitParams(Saturate(range.min), Saturate(range.max), kMaxCode);
  }
  static constexpr QuantParams LoadParams(int head_dim, StaticRange range, const std::byte* encoded,
                                          int group) {
    if constexpr (kStaticRange) return StaticParams(range);
    return {F16ToFloat(LoadU16(encoded + ScaleOffset(head_dim), group)),
            static_cast<int16_t>(LoadU16(encoded + ZeroOffset(head_dim), group))};
  }

  static constexpr void Encode(Role role, int head_dim, StaticRange range, const float* tile,
                               std::byte* encoded) {
    for (size_t i = 0; i < TileBytes(head_dim); ++i) encoded[i] = std::byte{0};
    for (int group = 0; group < Policy::Groups(head_dim); ++group) {
      const GroupRegion region = Policy::Region(group, head_dim);
      QuantParams params = StaticParams(range);
      if constexpr (!kStaticRange) {
        const Extremes extremes = ClipRange(FindExtremes(region, head_dim, tile), range.clip);
        params = FitParams(extremes.min, extremes.max, kMaxCode);
        StoreU16(encoded + ScaleOffset(head_dim), group, FloatToF16(params.scale));
        StoreU16(encoded + ZeroOffset(head_dim), group, static_cast<uint16_t>(params.zero));
      }
      for (int t = region.first_token; t < region.first_token + region.tokens; ++t) {
        for (int c = region.first_channel; c < region.first_channel + region.channels; ++c) {
          const float x = Saturate(tile[t * head_dim + c]);
          Packing::Set(encoded, ElementIndex(role, t, c, kBlockTokens, head_dim),
                       Quantize(x, params, kMaxCode));
        }
      }
    }
  }

  static constexpr void Decode(Role role, int head_dim, StaticRange range, const std::byte* encoded,
                               float* tile) {
    for (int group = 0; group < Policy::Groups(head_dim); ++group) {
      const GroupRegion region = Policy::Region(group, head_dim);
      const QuantParams params = LoadParams(head_dim, range, encoded, group);
      for (int t = region.first_token; t < region.first_token + region.tokens; ++t) {
        for (int c = region.first_channel; c < region.first_channel + region.channels; ++c) {
          const int element = ElementIndex(role, t, c, kBlockTokens, head_dim);
          tile[t * head_dim + c] = Dequantize(Packing::Get(encoded, element), params);
        }
      }
    }
  }

  static constexpr float At(const TileElement& element) {
    const int group = Policy::GroupOf(element.token, element.channel, element.head_dim);
    return Dequantize(Packing::Get(element.encoded, element.index()),
                      LoadParams(element.head_dim, element.range, element.encoded, group));
  }

  // Half a stored step, plus float rounding in units of a step: x / s and (q - z) * s are each off
  // by at most 2^-24 relative, and |x / s|, |q - z| <= 32767 + 255: 2 * 2^-9; (max - min) / levels
  // adds 255 * 2^-24.
  static constexpr float ErrorBound(const TileElement& element, float /*x*/) {
    const int group = Policy::GroupOf(element.token, element.channel, element.head_dim);
    return LoadParams(element.head_dim, element.range, element.encoded, group).scale *
           (0.5f + 0x1p-8f + 0x1p-15f);
  }

 private:
  static constexpr Extremes FindExtremes(const GroupRegion& region, int head_dim,
                                         const float* tile) {
    Extremes extremes;
    for (int t = region.first_token; t < region.first_token + region.tokens; ++t) {
      for (int c = region.first_channel; c < region.first_channel + region.channels; ++c) {
        const float x = Saturate(tile[t * head_dim + c]);
        extremes.min = x < extremes.min ? x : extremes.min;
        extremes.max = x > extremes.max ? x : extremes.max;
      }
    }
    return extremes;
  }
};

}  // namespace kvpareto::kv
