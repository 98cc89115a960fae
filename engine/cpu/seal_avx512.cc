// Encoding bf16 tiles with vectors, bit for bit as kv::EncodeTile does: the extremes of every
// group, the parameters of 16 groups at once, then the codes. The quantizer's arithmetic is defined
// in kv/quantizer.h; every operation here is the one there.
#include <cstring>

#include "engine/cpu/equalize_avx512.h"
#include "engine/cpu/seal_dispatch.h"
#include "engine/cpu/store_task.h"
#include "engine/cpu/tile_decode_avx512.h"
#include "engine/kv/quantizer.h"

namespace kvpareto::cpu {
namespace {

using kv::Granularity;
using kv::Role;

// min and max of every group.
struct Extremes {
  alignas(64) float min[kMaxGroups];
  alignas(64) float max[kMaxGroups];
};

// The granules of a bf16 tile, saturated: NaN becomes 0.
Pairs LoadSaturated(const std::byte* source, int granule) {
  Pairs values[1];
  Lanes<16>::Load(source + granule * kGranule * sizeof(uint16_t), values);
  const __m512 limit = _mm512_set1_ps(kv::kMaxMagnitude);
  const __m512 negative_limit = _mm512_set1_ps(-kv::kMaxMagnitude);
  const auto saturate = [&](__m512 x) {
    x = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), x);
    return _mm512_min_ps(_mm512_max_ps(x, negative_limit), limit);
  };
  return {saturate(values[0].first), saturate(values[0].second)};
}

// What is quantized: a tile's values, divided by the factors of its members if it has any.
struct Levels {
  const std::byte* source;
  const float* factors;  // of the members, along which lanes run; or null

  Pairs Load(int granule, int column) const {
    Pairs x = LoadSaturated(source, granule);
    if (factors != nullptr) {
      const __m512 factor = _mm512_load_ps(factors + 16 * column);
      x.first = _mm512_div_ps(x.first, factor);
      x.second = _mm512_div_ps(x.second, factor);
    }
    return x;
  }
};

void WidenLanes(const Pairs& values, int group, Extremes& extremes) {
  const __m512 low = _mm512_min_ps(values.first, values.second);
  const __m512 high = _mm512_max_ps(values.first, values.second);
  _mm512_storeu_ps(extremes.min + group, _mm512_min_ps(_mm512_loadu_ps(extremes.min + group), low));
  _mm512_storeu_ps(extremes.max + group,
                   _mm512_max_ps(_mm512_loadu_ps(extremes.max + group), high));
}

void WidenScalar(__m512 values, int group, Extremes& extremes) {
  const float low = _mm512_reduce_min_ps(values);
  const float high = _mm512_reduce_max_ps(values);
  if (low < extremes.min[group]) extremes.min[group] = low;
  if (high > extremes.max[group]) extremes.max[group] = high;
}

// Lanes of a granule are groups of their own where lanes run along the grouped index's other side;
// otherwise a granule's first and second elements fall into two groups (see ParamsOf).
template <Role kRole, Granularity kGranularity>
void Widen(const TileFormat& format, const Pairs& values, int row, int column, Extremes& extremes) {
  constexpr bool kKey = kRole == Role::kKey;
  if constexpr (kGranularity == Granularity::kPerToken && kKey) {
    WidenLanes(values, 2 * row / format.group_channels * kv::kBlockTokens + 16 * column, extremes);
  } else if constexpr (kGranularity == Granularity::kPerChannel && !kKey) {
    WidenLanes(values, 16 * column, extremes);
  } else if constexpr (kGranularity == Granularity::kPerBlock) {
    WidenLanes(values, 0, extremes);  // 16 partial groups, joined at the end
  } else {
    const int group =
        kKey ? 2 * row : 16 * column / format.group_channels * kv::kBlockTokens + 2 * row;
    WidenScalar(values.first, group, extremes);
    WidenScalar(values.second, group + 1, extremes);
  }
}

// ClipRange of kv/quantizer.h for 16 groups. The explicitly rounded product keeps the compiler from
// fusing it with the sums, which would round otherwise than the scalar definition.
void ClipLanes(float clip, __m512& min, __m512& max) {
  if (clip == 1.0f) return;
  const __m512 middle = _mm512_mul_ps(_mm512_set1_ps(0.5f), _mm512_add_ps(min, max));
  const __m512 half = _mm512_mul_round_ps(_mm512_set1_ps(0.5f * clip), _mm512_sub_ps(max, min),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  min = _mm512_sub_ps(middle, half);
  max = _mm512_add_ps(middle, half);
}

// FitParams of kv/quantizer.h for 16 groups; stores what the tile keeps and what Quantize needs.
void FitGroups(const TileFormat& format, const Extremes& extremes, int max_code, float clip,
               TileParams& params, std::byte* encoded) {
  const __m512 max_zero = _mm512_set1_ps(kv::kMaxZero);
  const __m512 sign = _mm512_set1_ps(-0.0f);
  for (int g = 0; g < format.groups; g += 16) {
    __m512 min = _mm512_load_ps(extremes.min + g);
    __m512 max = _mm512_load_ps(extremes.max + g);
    ClipLanes(clip, min, max);
    const __m512 absmax = _mm512_max_ps(_mm512_andnot_ps(sign, min), _mm512_andnot_ps(sign, max));
    __m512 scale =
        _mm512_div_ps(_mm512_sub_ps(max, min), _mm512_set1_ps(static_cast<float>(max_code)));
    scale = _mm512_max_ps(scale, _mm512_div_ps(absmax, max_zero));
    scale = _mm512_max_ps(scale, _mm512_set1_ps(kv::kMinScale));
    const __m256i half = _mm512_cvtps_ph(scale, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    scale = _mm512_cvtph_ps(half);
    __m512 zero = _mm512_div_ps(_mm512_xor_ps(sign, min), scale);
    zero = _mm512_max_ps(_mm512_min_ps(zero, max_zero), _mm512_xor_ps(sign, max_zero));
    const __m512i zero_int = _mm512_cvtps_epi32(zero);  // to nearest even, as RoundToInt

    const int left = format.groups - g;
    const __mmask16 mask = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
    _mm512_store_ps(params.scale + g, scale);
    _mm512_store_ps(params.zero + g, _mm512_cvtepi32_ps(zero_int));
    _mm256_mask_storeu_epi16(encoded + format.scale_offset + 2 * size_t(g), mask, half);
    _mm256_mask_storeu_epi16(encoded + format.zero_offset + 2 * size_t(g), mask,
                             _mm512_cvtepi32_epi16(zero_int));
  }
}

// Quantize of kv/quantizer.h.
__m512i Quantize(__m512 x, __m512 scale, __m512 zero, __m512 limit) {
  const __m512 code = _mm512_add_ps(_mm512_div_ps(x, scale), zero);
  return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(code, _mm512_setzero_ps()), limit));
}

// Codes of a packing unit's granules, as pairs in 16-bit lanes of their own, into bytes. Granules
// of a unit of 8, 4 or 2 bits lie in the same 32 bytes, kBits apart.
template <int kBits>
void PackUnit(const __m512i* pairs, std::byte* to) {
  __m512i unit = pairs[0];
  for (int i = 1; i < 8 / kBits; ++i) {
    unit = _mm512_or_si512(unit, _mm512_slli_epi32(pairs[i], i * kBits));
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(unit));
}

// kCount bits from bit kFirst on of every code.
template <int kFirst, int kCount>
__m512i BitsOf(__m512i pair) {
  constexpr int kMask = (1 << kCount) - 1;
  return _mm512_and_si512(_mm512_srli_epi32(pair, kFirst), _mm512_set1_epi32(kMask | kMask << 8));
}

template <>
void PackUnit<6>(const __m512i* pairs, std::byte* to) {
  __m512i low[4], high[4];
  for (int i = 0; i < 4; ++i) {
    low[i] = BitsOf<0, 4>(pairs[i]);
    high[i] = BitsOf<4, 2>(pairs[i]);
  }
  PackUnit<4>(low, to);
  PackUnit<4>(low + 2, to + kv::BitPacking<4>::kUnitBytes);
  PackUnit<2>(high, to + kv::BitPacking<6>::kHighPlane);
}

template <>
void PackUnit<3>(const __m512i* pairs, std::byte* to) {
  __m512i low[4];
  for (int i = 0; i < 4; ++i) {
    low[i] = BitsOf<0, 2>(pairs[i]);
    // First and second elements in neighbouring 16-bit lanes: their bits are then in order.
    const __m512i lanes = _mm512_or_si512(_mm512_and_si512(pairs[i], _mm512_set1_epi32(0xff)),
                                          _mm512_slli_epi32(_mm512_srli_epi32(pairs[i], 8), 16));
    const uint32_t bits = _cvtmask32_u32(_mm512_test_epi16_mask(lanes, _mm512_set1_epi16(4)));
    std::memcpy(to + kv::BitPacking<3>::kHighPlane + 4 * i, &bits, sizeof(bits));
  }
  PackUnit<2>(low, to);
}

template <typename F>
void ForEachGranule(Role role, int head_dim, const F& f) {
  const int columns = role == Role::kKey ? kv::kBlockTokens / 16 : head_dim / 16;
  const int rows = kv::kBlockTokens * head_dim / kGranule / columns;
  int granule = 0;
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) f(granule++, row, column);
  }
}

// Finds the factors of a dual-axis tile and stores them in it.
void FindFactors(const SealTask& task, const TileFormat& format, float* factors) {
  const bool key = task.role == Role::kKey;
  LaneEqualizer equalizer(key ? task.head_dim : kv::kBlockTokens,
                          key ? kv::kBlockTokens : task.head_dim);
  ForEachGranule(task.role, task.head_dim, [&](int granule, int row, int column) {
    equalizer.Set(row, column, LoadSaturated(task.source, granule));
  });
  equalizer.Run(factors);
  for (int m = 0; m < format.factors; m += 16) {
    _mm256_storeu_si256(
        reinterpret_cast<__m256i*>(task.encoded + format.factor_offset + 2 * size_t(m)),
        _mm512_cvtps_ph(_mm512_load_ps(factors + m),
                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
}

void JoinLanes(Extremes& extremes) {
  extremes.min[0] = _mm512_reduce_min_ps(_mm512_load_ps(extremes.min));
  extremes.max[0] = _mm512_reduce_max_ps(_mm512_load_ps(extremes.max));
}

template <int kBits, Role kRole, Granularity kGranularity>
struct Encode {
  static void Run(const SealTask& task, const TileFormat& format) {
    constexpr int kMaxCode = (1 << kBits) - 1;
    TileParams params;
    params.scale[0] = format.static_scale;
    params.zero[0] = format.static_zero;
    alignas(64) float factors[kMaxHeadDim];
    Levels levels = {task.source, nullptr};
    if (format.extra == Extra::kFactors) {
      FindFactors(task, format, factors);
      levels.factors = factors;
    }
    if (format.groups > 0) {
      Extremes extremes;
      for (int i = 0; i < (format.groups + 15) / 16 * 16; ++i) {
        extremes.min[i] = kv::kMaxMagnitude;
        extremes.max[i] = -kv::kMaxMagnitude;
      }
      ForEachGranule(kRole, task.head_dim, [&](int granule, int row, int column) {
        Widen<kRole, kGranularity>(format, levels.Load(granule, column), row, column, extremes);
      });
      if constexpr (kGranularity == Granularity::kPerBlock) JoinLanes(extremes);
      FitGroups(format, extremes, kMaxCode, task.range.clip, params, task.encoded);
    }
    constexpr int kCount = Lanes<kBits>::kMinCount;
    const __m512 limit = _mm512_set1_ps(kMaxCode);
    __m512i unit[kCount];
    ForEachGranule(kRole, task.head_dim, [&](int granule, int row, int column) {
      const Pairs x = levels.Load(granule, column);
      const GranuleParams p = ParamsOf<kRole, kGranularity>(format, params, row, column);
      const __m512i first = Quantize(x.first, p.scale.first, p.zero.first, limit);
      const __m512i second = Quantize(x.second, p.scale.second, p.zero.second, limit);
      const int place = granule % kCount;
      unit[place] = _mm512_or_si512(first, _mm512_slli_epi32(second, 8));
      if (place == kCount - 1) {
        PackUnit<kBits>(unit, task.encoded + (granule - place) * (kGranule * kBits / 8));
      }
    });
  }
};

}  // namespace

bool SealTileAvx512(const SealTask& task) { return DispatchSeal<Encode>(task, Extra::kFactors); }

}  // namespace kvpareto::cpu
