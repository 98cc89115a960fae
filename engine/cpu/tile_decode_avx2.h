// Vector decoding of tiles on AVX2. Only for *_avx2.cc: everything is in an anonymous namespace
// (see vector_avx2.h).
#pragma once

#include <cstring>

#include "engine/cpu/attention_task.h"
#include "engine/cpu/tile_decode.h"
#include "engine/cpu/vector_avx2.h"
#include "engine/kv/bit_packing.h"

namespace kvpareto::cpu {
namespace {

// The most scales of a tile: one per token and 32 channels, or one per channel.
inline constexpr int kMaxGroups = kv::kBlockTokens * kMaxHeadDim / 32;

// A tile's scales and zero points as floats: x~ = (code - zero) * scale, then what Extra says.
struct TileParams {
  alignas(32) float scale[kMaxGroups];
  alignas(32) float zero[kMaxGroups];
  alignas(32) float factor[kMaxHeadDim];  // or means
};

// 8 numbers of 16 bits, of which `count` exist.
[[maybe_unused]] inline __m128i LoadShorts(const std::byte* from, int count) {
  if (count >= kLanes) return LoadHalf(from);
  alignas(16) uint16_t shorts[kLanes] = {};
  std::memcpy(shorts, from, sizeof(uint16_t) * count);
  return LoadHalf(shorts);
}

[[maybe_unused]] inline void LoadParams(const TileFormat& format, const std::byte* encoded,
                                        TileParams& params) {
  for (int i = 0; i < format.factors; i += kLanes) {  // a multiple of 16
    const __m128i half = LoadHalf(encoded + format.factor_offset + 2 * size_t(i));
    _mm256_store_ps(params.factor + i, _mm256_cvtph_ps(half));
  }
  if (format.groups == 0) {
    params.scale[0] = format.static_scale;
    params.zero[0] = format.static_zero;
  }
  for (int i = 0; i < format.groups; i += kLanes) {
    const int count = format.groups - i;
    const __m128i half = LoadShorts(encoded + format.scale_offset + 2 * size_t(i), count);
    const __m128i zero = LoadShorts(encoded + format.zero_offset + 2 * size_t(i), count);
    _mm256_store_ps(params.scale + i, _mm256_cvtph_ps(half));
    _mm256_store_ps(params.zero + i, _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(zero)));
  }
}

// Half a granule: the first and the second elements of 8 pairs.
struct Pairs {
  __m256 first;
  __m256 second;
};
struct CodePairs {
  __m256i first;
  __m256i second;
};

// Integer codes of the 8 pairs from pair 8 * part on of granule `place` of a packing unit.
template <int kBits>
struct Unit {
  static constexpr int kGranules = 8 / kBits;
  // A 16-bit lane holds pairs j, 16 + j, ...: its first byte the first elements, its second byte
  // the second ones.
  static CodePairs Load(const std::byte* unit, int place, int part) {
    const __m256i lanes = _mm256_cvtepu16_epi32(LoadHalf(unit + 16 * part));
    const __m256i mask = _mm256_set1_epi32((1 << kBits) - 1);
    return {_mm256_and_si256(_mm256_srli_epi32(lanes, kBits * place), mask),
            _mm256_and_si256(_mm256_srli_epi32(lanes, 8 + kBits * place), mask)};
  }
};

// Codes of two planes (bit_packing.h).
template <>
struct Unit<6> {
  static constexpr int kGranules = 4;
  static CodePairs Load(const std::byte* unit, int place, int part) {
    const std::byte* const low_unit = unit + place / 2 * kv::BitPacking<4>::kUnitBytes;
    const CodePairs low = Unit<4>::Load(low_unit, place % 2, part);
    const CodePairs high = Unit<2>::Load(unit + kv::BitPacking<6>::kHighPlane, place, part);
    return {_mm256_or_si256(low.first, _mm256_slli_epi32(high.first, 4)),
            _mm256_or_si256(low.second, _mm256_slli_epi32(high.second, 4))};
  }
};
template <>
struct Unit<3> {
  static constexpr int kGranules = 4;
  static CodePairs Load(const std::byte* unit, int place, int part) {
    const CodePairs low = Unit<2>::Load(unit, place, part);
    uint16_t bits;  // one for each of the 16 elements, in order
    std::memcpy(&bits, unit + kv::BitPacking<3>::kHighPlane + 4 * place + 2 * part, sizeof(bits));
    // Moves the bit of element 2i to bit 2.
    const __m256i shifts = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    const __m256i moved = _mm256_srlv_epi32(_mm256_set1_epi32(bits << 2), shifts);
    const __m256i four = _mm256_set1_epi32(4);
    return {_mm256_or_si256(low.first, _mm256_and_si256(moved, four)),
            _mm256_or_si256(low.second, _mm256_and_si256(_mm256_srli_epi32(moved, 1), four))};
  }
};

// bf16 pairs in 32-bit lanes.
[[maybe_unused]] inline Pairs Bf16Pairs(__m256i lanes) {
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(lanes, 16)),
          _mm256_castsi256_ps(_mm256_and_si256(lanes, upper))};
}

// fp8 e4m3 in the lowest byte of every lane; what is above does not matter.
[[maybe_unused]] inline __m256 Fp8ToFloat(__m256i lanes) {
  const __m256i magnitude = _mm256_and_si256(lanes, _mm256_set1_epi32(0x7f));
  const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(lanes, _mm256_set1_epi32(0x80)), 24);
  const __m256i normal =
      _mm256_slli_epi32(_mm256_add_epi32(magnitude, _mm256_set1_epi32((127 - 7) << 3)), 20);
  const __m256 subnormal = _mm256_mul_ps(_mm256_cvtepi32_ps(magnitude), _mm256_set1_ps(0x1p-9f));
  const __m256i small = _mm256_cmpgt_epi32(_mm256_set1_epi32(8), magnitude);
  const __m256i bits = _mm256_blendv_epi8(normal, _mm256_castps_si256(subnormal), small);
  return _mm256_castsi256_ps(_mm256_or_si256(bits, sign));
}

// Where the parameters of half a granule come from. Row: of pairs; lane: the first of its 8 along
// the row.
struct PairParams {
  Pairs scale;
  Pairs zero;
};

// Keys: a row is a pair of channels, its lanes are tokens. Values: a row is a pair of tokens, its
// lanes are channels. So one of the two granularities is a vector per lane, the other a scalar per
// row.
template <kv::Role kRole, kv::Granularity kGranularity>
inline PairParams ParamsOf(const TileFormat& format, const TileParams& params, int row, int lane) {
  constexpr bool kKey = kRole == kv::Role::kKey;
  const auto lanes = [](const float* from) {
    const __m256 x = _mm256_load_ps(from);
    return Pairs{x, x};
  };
  const auto rows = [](const float* from) {
    return Pairs{_mm256_broadcast_ss(from), _mm256_broadcast_ss(from + 1)};
  };
  if constexpr (kGranularity == kv::Granularity::kPerToken) {
    const int channel = kKey ? 2 * row : lane;
    const int token = kKey ? lane : 2 * row;
    const int group = channel / format.group_channels * kv::kBlockTokens + token;
    if constexpr (kKey) {
      return {lanes(params.scale + group), lanes(params.zero + group)};
    } else {
      return {rows(params.scale + group), rows(params.zero + group)};
    }
  } else if constexpr (kGranularity == kv::Granularity::kPerChannel && kKey) {
    return {rows(params.scale + 2 * row), rows(params.zero + 2 * row)};
  } else if constexpr (kGranularity == kv::Granularity::kPerChannel) {
    return {lanes(params.scale + lane), lanes(params.zero + lane)};
  } else {
    const __m256 scale = _mm256_set1_ps(params.scale[0]), zero = _mm256_set1_ps(params.zero[0]);
    return {{scale, scale}, {zero, zero}};
  }
}

// Factors are those of the lanes: tokens of keys, channels of values. Means are those of channels,
// added after the product before them has been rounded, as the scalar definition does.
template <kv::Role kRole>
inline Pairs ApplyExtra(Extra extra, const TileParams& params, int row, int lane, Pairs values) {
  if (extra == Extra::kFactors) {
    const __m256 factor = _mm256_load_ps(params.factor + lane);
    return {_mm256_mul_ps(values.first, factor), _mm256_mul_ps(values.second, factor)};
  }
  Pairs mean;
  if constexpr (kRole == kv::Role::kKey) {
    mean = {_mm256_set1_ps(params.factor[2 * row]), _mm256_set1_ps(params.factor[2 * row + 1])};
  } else {
    mean.first = mean.second = _mm256_load_ps(params.factor + lane);
  }
  return {_mm256_add_ps(Rounded(values.first), mean.first),
          _mm256_add_ps(Rounded(values.second), mean.second)};
}

// Granules out[32 * i]: 16 first, then 16 second elements.
[[maybe_unused]] inline void StorePairs(const Pairs& values, int granule, int part, float* out) {
  _mm256_storeu_ps(out + granule * kGranule + kLanes * part, values.first);
  _mm256_storeu_ps(out + granule * kGranule + 16 + kLanes * part, values.second);
}

}  // namespace
}  // namespace kvpareto::cpu
