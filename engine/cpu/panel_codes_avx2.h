// Codes and scales of a panel in AVX2 registers: 8 of its 16 rows at a time. Only for *_avx2.cc:
// everything is in an anonymous namespace (see vector_avx2.h).
#pragma once

#include "engine/cpu/packed_format.h"
#include "engine/cpu/vector_avx2.h"

namespace kvpareto::cpu {
namespace {

// Which 8 rows of a unit of a panel.
struct UnitPlace {
  int unit = 0;
  int half = 0;
};

// Vector v of a unit (packed_format.h): unsigned codes of 8 rows x 4 columns, a byte each.
template <PackedFormat F>
[[gnu::always_inline]] inline __m256i LoadCodes(const PanelView& panel, UnitPlace place, int v) {
  const UnitOffsets at = OffsetsOf(F, place.unit);
  const uint8_t* low = panel.data + at.low + 32 * place.half;
  if constexpr (F.bits == 8) return LoadInts(low + 64 * v);
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i pair = LoadInts(low + 64 * (v % 4));
  __m256i codes = _mm256_and_si256(v < 4 ? pair : _mm256_srli_epi16(pair, 4), nibble);
  const uint8_t* high = panel.data + at.high + 32 * place.half;
  if constexpr (F.bits == 5) {
    const __m256i bits = LoadInts(high);
    const __m256i moved = v < 4 ? _mm256_slli_epi16(bits, 4 - v) : _mm256_srli_epi16(bits, v - 4);
    codes = _mm256_or_si256(codes, _mm256_and_si256(moved, _mm256_set1_epi8(16)));
  } else if constexpr (F.bits == 6) {
    const __m256i bits = LoadInts(high + 64 * (v / 4));
    const int field = v % 4;
    const __m256i moved =
        field < 3 ? _mm256_slli_epi16(bits, 4 - 2 * field) : _mm256_srli_epi16(bits, 2 * field - 4);
    codes = _mm256_or_si256(codes, _mm256_and_si256(moved, _mm256_set1_epi8(48)));
  }
  return codes;
}

// Scale and minimum of the 8 rows for each 16 columns of a unit; equal but for kSuperSigned16.
struct UnitScales {
  __m256 scale[2];
  __m256 minimum;
};

template <PackedFormat F>
[[gnu::always_inline]] inline UnitScales LoadScales(const PanelView& panel, UnitPlace place) {
  const UnitOffsets at = OffsetsOf(F, place.unit);
  const int first_row = kLanes * place.half;
  const auto halves = [&](size_t offset) {
    return _mm256_cvtph_ps(LoadHalf(panel.data + offset + sizeof(uint16_t) * first_row));
  };
  const auto bytes = [&](size_t offset) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(panel.data + offset + first_row));
  };
  UnitScales s;
  s.scale[0] = halves(at.scale);
  s.minimum = F.has_half_minimum() ? halves(at.minimum) : _mm256_setzero_ps();
  [[maybe_unused]] const auto floats = [&](size_t offset) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes(offset)));
  };
  if constexpr (F.has_zero()) {
    s.minimum = _mm256_fnmadd_ps(s.scale[0], floats(at.zero), _mm256_setzero_ps());
  } else if constexpr (F.scales == ScaleKind::kSuperMin) {
    s.scale[0] = _mm256_mul_ps(s.scale[0], floats(at.sub_scale));
    // -(a * b), exactly as DequantizeRow subtracts it.
    s.minimum = _mm256_fnmadd_ps(s.minimum, floats(at.sub_minimum), _mm256_set1_ps(-0.0f));
  }
  s.scale[1] = s.scale[0];
  if constexpr (F.scales == ScaleKind::kSuperSigned16) {
    const __m256 super = s.scale[0];
    for (int h = 0; h < 2; ++h) {
      const __m128i sub = bytes(at.sub_scale + kPanelRows * h);
      s.scale[h] = _mm256_mul_ps(super, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(sub)));
    }
  }
  return s;
}

// Two columns of 8 rows of a bf16 panel, a 32-bit lane each.
struct Bf16Columns {
  __m256 even;
  __m256 odd;
};
[[maybe_unused]] inline Bf16Columns LoadBf16Columns(const PanelView& panel, int c, int half) {
  const __m256i pair = LoadInts(panel.data + sizeof(uint16_t) * kPanelRows * c + 32 * half);
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(pair, 16)),
          _mm256_castsi256_ps(_mm256_and_si256(pair, upper))};
}

}  // namespace
}  // namespace kvpareto::cpu
