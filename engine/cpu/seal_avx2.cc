// Encoding bf16 tiles with vectors, bit for bit as kv::EncodeTile does: the extremes of every
// group, the parameters of 8 groups at once, then the codes. The quantizer's arithmetic is defined
// in kv/quantizer.h; every operation here is the one there.
#include <cstring>

#include "engine/cpu/seal_dispatch.h"
#include "engine/cpu/store_task.h"
#include "engine/cpu/tile_decode_avx2.h"
#include "engine/kv/quantizer.h"

namespace kvpareto::cpu {
namespace {

using kv::Granularity;
using kv::Role;

// min and max of every group.
struct Extremes {
  alignas(32) float min[kMaxGroups];
  alignas(32) float max[kMaxGroups];
};

// Half a granule of a tile: 8 pairs of row `row`, from lane `lane` of the row on.
struct Place {
  int granule = 0;
  int part = 0;
  int row = 0;
  int lane = 0;
};

template <typename F>
void ForEachGranule(Role role, int head_dim, const F& f) {
  const int columns = (role == Role::kKey ? kv::kBlockTokens : head_dim) / 16;
  const int rows = kv::kBlockTokens * head_dim / kGranule / columns;
  for (int row = 0, granule = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) f(granule++, row, 16 * column);
  }
}

// Saturated elements of a bf16 tile: NaN becomes 0.
Pairs LoadSaturated(const std::byte* source, const Place& place) {
  const Pairs values =
      Bf16Pairs(LoadInts(source + place.granule * kGranule * sizeof(uint16_t) + 32 * place.part));
  const __m256 limit = _mm256_set1_ps(kv::kMaxMagnitude);
  const __m256 negative_limit = _mm256_set1_ps(-kv::kMaxMagnitude);
  const auto saturate = [&](__m256 x) {
    x = _mm256_and_ps(x, _mm256_cmp_ps(x, x, _CMP_ORD_Q));
    return _mm256_min_ps(_mm256_max_ps(x, negative_limit), limit);
  };
  return {saturate(values.first), saturate(values.second)};
}

void WidenLanes(const Pairs& values, int group, Extremes& extremes) {
  const __m256 low = _mm256_min_ps(values.first, values.second);
  const __m256 high = _mm256_max_ps(values.first, values.second);
  _mm256_store_ps(extremes.min + group, _mm256_min_ps(_mm256_load_ps(extremes.min + group), low));
  _mm256_store_ps(extremes.max + group, _mm256_max_ps(_mm256_load_ps(extremes.max + group), high));
}

void WidenScalar(__m256 values, int group, Extremes& extremes) {
  const float low = ReduceMin(values);
  const float high = ReduceMax(values);
  if (low < extremes.min[group]) extremes.min[group] = low;
  if (high > extremes.max[group]) extremes.max[group] = high;
}

// Lanes are groups of their own where they run along the grouped index's other side; otherwise
// first and second elements fall into two groups (see ParamsOf).
template <Role kRole, Granularity kGranularity>
void Widen(const TileFormat& format, const Pairs& values, const Place& place, Extremes& extremes) {
  constexpr bool kKey = kRole == Role::kKey;
  if constexpr (kGranularity == Granularity::kPerToken && kKey) {
    WidenLanes(values, 2 * place.row / format.group_channels * kv::kBlockTokens + place.lane,
               extremes);
  } else if constexpr (kGranularity == Granularity::kPerChannel && !kKey) {
    WidenLanes(values, place.lane, extremes);
  } else if constexpr (kGranularity == Granularity::kPerBlock) {
    WidenLanes(values, 0, extremes);  // 8 partial groups, joined at the end
  } else {
    const int group = kKey ? 2 * place.row
                           : place.lane / format.group_channels * kv::kBlockTokens + 2 * place.row;
    WidenScalar(values.first, group, extremes);
    WidenScalar(values.second, group + 1, extremes);
  }
}

// ClipRange of kv/quantizer.h for 8 groups.
void ClipLanes(float clip, __m256& min, __m256& max) {
  if (clip == 1.0f) return;
  const __m256 middle = Rounded(_mm256_mul_ps(_mm256_set1_ps(0.5f), _mm256_add_ps(min, max)));
  const __m256 half = Rounded(_mm256_mul_ps(_mm256_set1_ps(0.5f * clip), _mm256_sub_ps(max, min)));
  min = _mm256_sub_ps(middle, half);
  max = _mm256_add_ps(middle, half);
}

// 8 numbers of 16 bits, of which `count` are wanted.
void StoreShorts(__m128i values, int count, std::byte* to) {
  alignas(16) uint16_t shorts[kLanes];
  _mm_store_si128(reinterpret_cast<__m128i*>(shorts), values);
  std::memcpy(to, shorts, sizeof(uint16_t) * (count < kLanes ? count : kLanes));
}

// FitParams of kv/quantizer.h for 8 groups at a time; stores what the tile keeps and what Quantize
// needs.
void FitGroups(const TileFormat& format, const Extremes& extremes, int max_code, float clip,
               TileParams& params, std::byte* encoded) {
  const __m256 max_zero = _mm256_set1_ps(kv::kMaxZero);
  const __m256 sign = _mm256_set1_ps(-0.0f);
  for (int g = 0; g < format.groups; g += kLanes) {
    __m256 min = _mm256_load_ps(extremes.min + g);
    __m256 max = _mm256_load_ps(extremes.max + g);
    ClipLanes(clip, min, max);
    const __m256 absmax = _mm256_max_ps(_mm256_andnot_ps(sign, min), _mm256_andnot_ps(sign, max));
    __m256 scale =
        _mm256_div_ps(_mm256_sub_ps(max, min), _mm256_set1_ps(static_cast<float>(max_code)));
    scale = _mm256_max_ps(scale, _mm256_div_ps(absmax, max_zero));
    scale = _mm256_max_ps(scale, _mm256_set1_ps(kv::kMinScale));
    const __m128i half = _mm256_cvtps_ph(scale, _MM_FROUND_TO_POS_INF);
    scale = _mm256_cvtph_ps(half);
    __m256 zero = _mm256_div_ps(_mm256_xor_ps(sign, min), scale);
    zero = _mm256_max_ps(_mm256_min_ps(zero, max_zero), _mm256_xor_ps(sign, max_zero));
    const __m256i zero_int = _mm256_cvtps_epi32(zero);  // to nearest even, as RoundToInt
    _mm256_store_ps(params.scale + g, scale);
    _mm256_store_ps(params.zero + g, _mm256_cvtepi32_ps(zero_int));
    StoreShorts(half, format.groups - g, encoded + format.scale_offset + 2 * size_t(g));
    const __m128i shorts =
        _mm_packs_epi32(_mm256_castsi256_si128(zero_int), _mm256_extracti128_si256(zero_int, 1));
    StoreShorts(shorts, format.groups - g, encoded + format.zero_offset + 2 * size_t(g));
  }
}

// Quantize of kv/quantizer.h.
__m256i Quantize(__m256 x, __m256 scale, __m256 zero, __m256 limit) {
  const __m256 code = _mm256_add_ps(_mm256_div_ps(x, scale), zero);
  return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(code, _mm256_setzero_ps()), limit));
}

// The codes of a granule, in element order.
struct GranuleCodes {
  __m256i bytes;
};

// 8 pairs of codes in 32-bit lanes of their own.
GranuleCodes Join(__m256i low_pairs, __m256i high_pairs) {
  const __m256i packed = _mm256_packus_epi32(low_pairs, high_pairs);
  return {_mm256_permute4x64_epi64(packed, 0xd8)};
}

// Granules of a unit of 8, 4 or 2 bits lie in the same 32 bytes, kBits apart.
template <int kBits>
void PackUnit(const GranuleCodes* granules, std::byte* to) {
  __m256i unit = granules[0].bytes;
  for (int i = 1; i < 8 / kBits; ++i) {  // codes have no bits to lose to a byte's neighbour
    unit = _mm256_or_si256(unit, _mm256_slli_epi16(granules[i].bytes, i * kBits));
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), unit);
}

// kCount bits from bit kFirst on of every code.
template <int kFirst, int kCount>
GranuleCodes BitsOf(const GranuleCodes& codes) {
  return {_mm256_and_si256(_mm256_srli_epi16(codes.bytes, kFirst),
                           _mm256_set1_epi8((1 << kCount) - 1))};
}

template <>
void PackUnit<6>(const GranuleCodes* granules, std::byte* to) {
  GranuleCodes low[4], high[4];
  for (int i = 0; i < 4; ++i) {
    low[i] = BitsOf<0, 4>(granules[i]);
    high[i] = BitsOf<4, 2>(granules[i]);
  }
  PackUnit<4>(low, to);
  PackUnit<4>(low + 2, to + kv::BitPacking<4>::kUnitBytes);
  PackUnit<2>(high, to + kv::BitPacking<6>::kHighPlane);
}

template <>
void PackUnit<3>(const GranuleCodes* granules, std::byte* to) {
  GranuleCodes low[4];
  for (int i = 0; i < 4; ++i) {
    low[i] = BitsOf<0, 2>(granules[i]);
    // Bit 2 of every byte to its top, whence it is gathered: a bit per element, in order.
    const int bits = _mm256_movemask_epi8(_mm256_slli_epi16(granules[i].bytes, 5));
    std::memcpy(to + kv::BitPacking<3>::kHighPlane + 4 * i, &bits, sizeof(bits));
  }
  PackUnit<2>(low, to);
}

void JoinLanes(Extremes& extremes) {
  extremes.min[0] = ReduceMin(_mm256_load_ps(extremes.min));
  extremes.max[0] = ReduceMax(_mm256_load_ps(extremes.max));
}

template <Role kRole, Granularity kGranularity>
void FitTile(const SealTask& task, const TileFormat& format, int max_code, TileParams& params) {
  params.scale[0] = format.static_scale;
  params.zero[0] = format.static_zero;
  if (format.groups == 0) return;
  Extremes extremes;
  for (int i = 0; i < (format.groups + kLanes - 1) / kLanes * kLanes; ++i) {
    extremes.min[i] = kv::kMaxMagnitude;
    extremes.max[i] = -kv::kMaxMagnitude;
  }
  ForEachGranule(kRole, task.head_dim, [&](int granule, int row, int lane) {
    for (int part = 0; part < 2; ++part) {
      const Place place = {granule, part, row, lane + kLanes * part};
      Widen<kRole, kGranularity>(format, LoadSaturated(task.source, place), place, extremes);
    }
  });
  if constexpr (kGranularity == Granularity::kPerBlock) JoinLanes(extremes);
  FitGroups(format, extremes, max_code, task.range.clip, params, task.encoded);
}

template <int kBits, Role kRole, Granularity kGranularity>
struct Encode {
  static void Run(const SealTask& task, const TileFormat& format) {
    constexpr int kMaxCode = (1 << kBits) - 1;
    TileParams params;
    FitTile<kRole, kGranularity>(task, format, kMaxCode, params);
    constexpr int kCount = Unit<kBits>::kGranules;
    const __m256 limit = _mm256_set1_ps(kMaxCode);
    GranuleCodes unit[kCount];
    ForEachGranule(kRole, task.head_dim, [&](int granule, int row, int lane) {
      __m256i pairs[2];
      for (int part = 0; part < 2; ++part) {
        const Place place = {granule, part, row, lane + kLanes * part};
        const Pairs x = LoadSaturated(task.source, place);
        const PairParams p = ParamsOf<kRole, kGranularity>(format, params, row, place.lane);
        const __m256i first = Quantize(x.first, p.scale.first, p.zero.first, limit);
        const __m256i second = Quantize(x.second, p.scale.second, p.zero.second, limit);
        pairs[part] = _mm256_or_si256(first, _mm256_slli_epi32(second, 8));
      }
      const int index = granule % kCount;
      unit[index] = Join(pairs[0], pairs[1]);
      if (index == kCount - 1) {
        PackUnit<kBits>(unit, task.encoded + (granule - index) * (kGranule * kBits / 8));
      }
    });
  }
};

}  // namespace

bool SealTileAvx2(const SealTask& task) { return DispatchSeal<Encode>(task, Extra::kNone); }

}  // namespace kvpareto::cpu
