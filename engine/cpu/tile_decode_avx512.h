// Vector decoding of tiles, shared by the per-ISA files. Everything is in an anonymous namespace:
// each file gets its own copy, compiled for its instruction set.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "engine/cpu/attention_task.h"
#include "engine/cpu/tile_decode.h"
#include "engine/kv/bit_packing.h"

namespace kvpareto::cpu {
namespace {

// The most scales of a tile: one per token and 32 channels, or one per channel.
inline constexpr int kMaxGroups = kv::kBlockTokens * kMaxHeadDim / 32;

// A tile's scales and zero points as floats: x~ = (code - zero) * scale, then what Extra says.
struct TileParams {
  alignas(64) float scale[kMaxGroups];
  alignas(64) float zero[kMaxGroups];
  alignas(64) float factor[kMaxHeadDim];  // or means
};

// 16 fp16 numbers.
inline __m512 LoadFloat16(const std::byte* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// format.factors is a multiple of 16: tokens, or channels of fast formats.
inline void LoadFactors(const TileFormat& format, const std::byte* encoded, TileParams& params) {
  const std::byte* const from = encoded + format.factor_offset;
  for (int i = 0; i < format.factors; i += 16) {
    _mm512_store_ps(params.factor + i, LoadFloat16(from + 2 * i));
  }
}

inline void LoadParams(const TileFormat& format, const std::byte* encoded, TileParams& params) {
  LoadFactors(format, encoded, params);
  if (format.groups == 0) {
    params.scale[0] = format.static_scale;
    params.zero[0] = format.static_zero;
    return;
  }
  for (int i = 0; i < format.groups; i += 16) {
    const int left = format.groups - i;
    const __mmask16 mask = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
    const __m256i half =
        _mm256_maskz_loadu_epi16(mask, encoded + format.scale_offset + 2 * size_t(i));
    const __m256i zero =
        _mm256_maskz_loadu_epi16(mask, encoded + format.zero_offset + 2 * size_t(i));
    _mm512_store_ps(params.scale + i, _mm512_cvtph_ps(half));
    _mm512_store_ps(params.zero + i, _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(zero)));
  }
}

// One granule as floats: the first and the second elements of its 16 pairs.
struct Pairs {
  __m512 first;
  __m512 second;
};

// Loads kCount consecutive granules as numbers: bf16 values, f32 values in granule order (kBits ==
// 32), or integer codes. kCount is a multiple of kMinCount, the granules of one packing unit.
template <int kBits>
struct Lanes;

template <>
struct Lanes<32> {
  static constexpr int kMinCount = 1;
  template <int kCount>
  static void Load(const std::byte* from, Pairs (&to)[kCount]) {
    for (int i = 0; i < kCount; ++i) {
      to[i].first = _mm512_loadu_ps(from + 128 * i);
      to[i].second = _mm512_loadu_ps(from + 128 * i + 64);
    }
  }
};

template <>
struct Lanes<16> {
  static constexpr int kMinCount = 1;
  template <int kCount>
  static void Load(const std::byte* from, Pairs (&to)[kCount]) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    for (int i = 0; i < kCount; ++i) {
      const __m512i lanes = _mm512_loadu_si512(from + 64 * i);
      to[i].first = _mm512_castsi512_ps(_mm512_slli_epi32(lanes, 16));
      to[i].second = _mm512_castsi512_ps(_mm512_and_si512(lanes, upper));
    }
  }
};

template <>
struct Lanes<8> {
  static constexpr int kMinCount = 1;
  template <int kCount>
  static void Load(const std::byte* from, Pairs (&to)[kCount]) {
    const __m512i low_byte = _mm512_set1_epi32(0xff);
    for (int i = 0; i < kCount; ++i) {
      const __m512i lanes = _mm512_cvtepu16_epi32(
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32 * i)));
      to[i].first = _mm512_cvtepi32_ps(_mm512_and_si512(lanes, low_byte));
      to[i].second = _mm512_cvtepi32_ps(_mm512_srli_epi32(lanes, 8));
    }
  }
};

// Codes of up to 4 bits become floats by a table look-up that reads an index's lowest 4 bits: no
// mask, no conversion. A 16-bit lane of a unit holds pairs j, 16 + j, ...: its first bytes the
// first elements, its second bytes the second ones.
template <int kBits>
struct PackedLanes {
  static constexpr int kMinCount = 8 / kBits;
  static __m512 Table() {
    return kBits == 4 ? _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
                      : _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
  }
  template <int kCount>
  static void Load(const std::byte* from, Pairs (&to)[kCount]) {
    static_assert(kCount % kMinCount == 0);
    const __m512 table = Table();
    for (int unit = 0; unit < kCount / kMinCount; ++unit) {
      const __m512i lanes = _mm512_cvtepu16_epi32(
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32 * unit)));
      for (int i = 0; i < kMinCount; ++i) {
        Pairs& pairs = to[unit * kMinCount + i];
        pairs.first = _mm512_permutexvar_ps(_mm512_srli_epi32(lanes, kBits * i), table);
        pairs.second = _mm512_permutexvar_ps(_mm512_srli_epi32(lanes, 8 + kBits * i), table);
      }
    }
  }
};
template <>
struct Lanes<4> : PackedLanes<4> {};
template <>
struct Lanes<2> : PackedLanes<2> {};

// Codes of two planes (bit_packing.h), one packing unit at a time. 6 bits: two look-ups and a sum.
template <>
struct Lanes<6> {
  static constexpr int kMinCount = 4;
  template <int kCount>
  static void Load(const std::byte* from, Pairs (&to)[kCount]) {
    static_assert(kCount % kMinCount == 0);
    const __m512 high_table =
        _mm512_setr_ps(0, 16, 32, 48, 0, 16, 32, 48, 0, 16, 32, 48, 0, 16, 32, 48);
    for (int unit = 0; unit < kCount; unit += kMinCount, from += kv::BitPacking<6>::kUnitBytes) {
      Pairs low[kMinCount];
      Lanes<4>::Load(from, low);
      const __m512i lanes = _mm512_cvtepu16_epi32(_mm256_loadu_si256(
          reinterpret_cast<const __m256i*>(from + kv::BitPacking<6>::kHighPlane)));
      for (int i = 0; i < kMinCount; ++i) {
        const __m512 first = _mm512_permutexvar_ps(_mm512_srli_epi32(lanes, 2 * i), high_table);
        const __m512 second =
            _mm512_permutexvar_ps(_mm512_srli_epi32(lanes, 8 + 2 * i), high_table);
        to[unit + i].first = _mm512_add_ps(low[i].first, first);
        to[unit + i].second = _mm512_add_ps(low[i].second, second);
      }
    }
  }
};

// 3 bits: the high plane's bits are masks for adding 4.
template <>
struct Lanes<3> {
  static constexpr int kMinCount = 4;
  template <int kCount>
  static void Load(const std::byte* from, Pairs (&to)[kCount]) {
    static_assert(kCount % kMinCount == 0);
    const __m512i first_bits =
        _mm512_setr_epi32(1 << 0, 1 << 2, 1 << 4, 1 << 6, 1 << 8, 1 << 10, 1 << 12, 1 << 14,
                          1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28, 1 << 30);
    const __m512i second_bits = _mm512_slli_epi32(first_bits, 1);
    const __m512 four = _mm512_set1_ps(4.0f);
    for (int unit = 0; unit < kCount; unit += kMinCount, from += kv::BitPacking<3>::kUnitBytes) {
      Pairs low[kMinCount];
      Lanes<2>::Load(from, low);
      for (int i = 0; i < kMinCount; ++i) {
        int word;  // a bit for each of the granule's 32 elements, in order
        std::memcpy(&word, from + kv::BitPacking<3>::kHighPlane + 4 * i, sizeof(word));
        const __m512i bits = _mm512_set1_epi32(word);
        to[unit + i].first = _mm512_mask_add_ps(
            low[i].first, _mm512_test_epi32_mask(bits, first_bits), low[i].first, four);
        to[unit + i].second = _mm512_mask_add_ps(
            low[i].second, _mm512_test_epi32_mask(bits, second_bits), low[i].second, four);
      }
    }
  }
};

// fp8 e4m3 in the lowest byte of every lane; what is above does not matter.
inline __m512 Fp8ToFloat(__m512i lanes) {
  const __m512i magnitude = _mm512_and_si512(lanes, _mm512_set1_epi32(0x7f));
  const __m512i sign = _mm512_slli_epi32(_mm512_and_si512(lanes, _mm512_set1_epi32(0x80)), 24);
  const __m512i normal =
      _mm512_slli_epi32(_mm512_add_epi32(magnitude, _mm512_set1_epi32((127 - 7) << 3)), 20);
  const __m512 subnormal = _mm512_mul_ps(_mm512_cvtepi32_ps(magnitude), _mm512_set1_ps(0x1p-9f));
  const __mmask16 small = _mm512_cmplt_epi32_mask(magnitude, _mm512_set1_epi32(8));
  const __m512i bits = _mm512_mask_mov_epi32(normal, small, _mm512_castps_si512(subnormal));
  return _mm512_castsi512_ps(_mm512_or_si512(bits, sign));
}

template <typename Store>
void DecodeFp8Granules(const std::byte* encoded, int granules, const Store& store) {
  for (int i = 0; i < granules; ++i) {
    const __m512i lanes = _mm512_cvtepu16_epi32(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(encoded + kGranule * i)));
    store(i, Pairs{Fp8ToFloat(lanes), Fp8ToFloat(_mm512_srli_epi32(lanes, 8))});
  }
}

template <typename Store>
void DecodeBf16Granules(const std::byte* encoded, int granules, const Store& store) {
  for (int i = 0; i < granules; ++i) {
    Pairs values[1];
    Lanes<16>::Load(encoded + 2 * kGranule * i, values);
    store(i, values[0]);
  }
}

// Where the parameters of a granule come from. Row: of pairs; column: of granules in the row.
struct GranuleParams {
  Pairs scale;
  Pairs zero;
};

// Keys: a row is a pair of channels, its lanes are tokens. Values: a row is a pair of tokens, its
// lanes are channels. So one of the two granularities is a vector per lane, the other a scalar per
// row.
template <kv::Role kRole, kv::Granularity kGranularity>
inline GranuleParams ParamsOf(const TileFormat& format, const TileParams& params, int row,
                              int column) {
  constexpr bool kKey = kRole == kv::Role::kKey;
  const auto both = [](__m512 x) { return Pairs{x, x}; };
  if constexpr (kGranularity == kv::Granularity::kPerToken && kKey) {
    const int group = 2 * row / format.group_channels * kv::kBlockTokens + 16 * column;
    return {both(_mm512_loadu_ps(params.scale + group)),
            both(_mm512_loadu_ps(params.zero + group))};
  } else if constexpr (kGranularity == kv::Granularity::kPerToken) {
    const int group = 16 * column / format.group_channels * kv::kBlockTokens + 2 * row;
    return {{_mm512_set1_ps(params.scale[group]), _mm512_set1_ps(params.scale[group + 1])},
            {_mm512_set1_ps(params.zero[group]), _mm512_set1_ps(params.zero[group + 1])}};
  } else if constexpr (kGranularity == kv::Granularity::kPerChannel && kKey) {
    return {{_mm512_set1_ps(params.scale[2 * row]), _mm512_set1_ps(params.scale[2 * row + 1])},
            {_mm512_set1_ps(params.zero[2 * row]), _mm512_set1_ps(params.zero[2 * row + 1])}};
  } else if constexpr (kGranularity == kv::Granularity::kPerChannel) {
    return {both(_mm512_loadu_ps(params.scale + 16 * column)),
            both(_mm512_loadu_ps(params.zero + 16 * column))};
  } else {
    return {both(_mm512_set1_ps(params.scale[0])), both(_mm512_set1_ps(params.zero[0]))};
  }
}

inline Pairs Dequantize(const Pairs& codes, const GranuleParams& p) {
  return {_mm512_mul_ps(_mm512_sub_ps(codes.first, p.zero.first), p.scale.first),
          _mm512_mul_ps(_mm512_sub_ps(codes.second, p.zero.second), p.scale.second)};
}

// Factors are those of the lanes: tokens of keys, channels of values. Means are those of channels.
// The explicitly rounded sum keeps the compiler from fusing it with the product before it, which
// would round otherwise than the scalar definition.
template <kv::Role kRole>
inline Pairs ApplyExtra(Extra extra, const TileParams& params, int row, int column, Pairs values) {
  constexpr int kRounding = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  if (extra == Extra::kFactors) {
    const __m512 factor = _mm512_load_ps(params.factor + 16 * column);
    return {_mm512_mul_ps(values.first, factor), _mm512_mul_ps(values.second, factor)};
  }
  Pairs mean;
  if constexpr (kRole == kv::Role::kKey) {
    mean = {_mm512_set1_ps(params.factor[2 * row]), _mm512_set1_ps(params.factor[2 * row + 1])};
  } else {
    mean.first = mean.second = _mm512_load_ps(params.factor + 16 * column);
  }
  return {_mm512_add_round_ps(values.first, mean.first, kRounding),
          _mm512_add_round_ps(values.second, mean.second, kRounding)};
}

// Calls store(granule index, values) for every granule of the tile, in order.
template <int kBits, kv::Role kRole, kv::Granularity kGranularity, typename Store>
void DecodeGranules(const TileFormat& format, const std::byte* encoded, int head_dim,
                    const Store& store) {
  TileParams params;
  LoadParams(format, encoded, params);
  constexpr int kCount = Lanes<kBits>::kMinCount;
  const int columns = kRole == kv::Role::kKey ? kv::kBlockTokens / 16 : head_dim / 16;
  const int granules = kv::kBlockTokens * head_dim / kGranule;
  int row = 0, column = 0;
  for (int i = 0; i < granules; i += kCount) {
    Pairs codes[kCount];
    Lanes<kBits>::template Load<kCount>(encoded + i * (kGranule * kBits / 8), codes);
    for (int j = 0; j < kCount; ++j) {
      Pairs values =
          Dequantize(codes[j], ParamsOf<kRole, kGranularity>(format, params, row, column));
      if (format.extra != Extra::kNone) {
        values = ApplyExtra<kRole>(format.extra, params, row, column, values);
      }
      store(i + j, values);
      if (++column == columns) column = 0, ++row;
    }
  }
}

template <int kBits, kv::Role kRole, typename Store>
void DispatchGranularity(const TileFormat& format, const std::byte* encoded, int head_dim,
                         const Store& store) {
  using kv::Granularity;
  switch (format.granularity) {
    case Granularity::kPerToken:
      return DecodeGranules<kBits, kRole, Granularity::kPerToken>(format, encoded, head_dim, store);
    case Granularity::kPerChannel:
      return DecodeGranules<kBits, kRole, Granularity::kPerChannel>(format, encoded, head_dim,
                                                                    store);
    case Granularity::kNone:
    case Granularity::kPerBlock:
    case Granularity::kPerTensor:
    case Granularity::kDual:  // DescribeTile names the granularity of its scales
      return DecodeGranules<kBits, kRole, Granularity::kPerBlock>(format, encoded, head_dim, store);
  }
}

template <kv::Role kRole, typename Store>
void DispatchBits(const TileFormat& format, const std::byte* encoded, int head_dim,
                  const Store& store) {
  switch (format.bits) {
    case 8:
      return DispatchGranularity<8, kRole>(format, encoded, head_dim, store);
    case 6:
      return DispatchGranularity<6, kRole>(format, encoded, head_dim, store);
    case 4:
      return DispatchGranularity<4, kRole>(format, encoded, head_dim, store);
    case 3:
      return DispatchGranularity<3, kRole>(format, encoded, head_dim, store);
    default:
      return DispatchGranularity<2, kRole>(format, encoded, head_dim, store);
  }
}

// A codec without a vector version: the scalar definition, then into granules.
template <typename Store>
void DecodeAnyCodec(const DecodeTask& task, const Store& store) {
  alignas(64) float tile[kv::kBlockTokens * kMaxHeadDim];
  kv::DecodeTile(task.codec, task.role, task.head_dim, task.range, task.encoded, tile);
  const bool key = task.role == kv::Role::kKey;
  const int columns = key ? kv::kBlockTokens / 16 : task.head_dim / 16;
  for (int i = 0; i < kv::kBlockTokens * task.head_dim / kGranule; ++i) {
    alignas(64) float lanes[2][16];
    for (int j = 0; j < kGranule; ++j) {
      const int outer = 2 * (i / columns) + j % 2;  // the paired index
      const int inner = i % columns * 16 + j / 2;
      lanes[j % 2][j / 2] =
          key ? tile[inner * task.head_dim + outer] : tile[outer * task.head_dim + inner];
    }
    store(i, Pairs{_mm512_load_ps(lanes[0]), _mm512_load_ps(lanes[1])});
  }
}

template <typename Store>
void DecodeTileGranules(const DecodeTask& task, const Store& store) {
  const TileFormat format = DescribeTile(task.codec, task.role, task.head_dim, task.range);
  if (!format.fast) {
    DecodeAnyCodec(task, store);
  } else if (!format.codes) {
    const int granules = kv::kBlockTokens * task.head_dim / kGranule;
    format.bits == 8 ? DecodeFp8Granules(task.encoded, granules, store)
                     : DecodeBf16Granules(task.encoded, granules, store);
  } else if (task.role == kv::Role::kKey) {
    DispatchBits<kv::Role::kKey>(format, task.encoded, task.head_dim, store);
  } else {
    DispatchBits<kv::Role::kValue>(format, task.encoded, task.head_dim, store);
  }
}

}  // namespace
}  // namespace kvpareto::cpu
