// Codes and scales of a panel in AVX-512 registers. Only for *_avx512.cc and *_avx512bf16.cc:
// everything is in an anonymous namespace, so that no copy compiled for another instruction set can
// replace it.
#pragma once

#include <immintrin.h>

#include "engine/cpu/packed_format.h"

namespace kvpareto::cpu {
namespace {

// fn.operator()<0>() .. <N - 1>(): loops whose index is an immediate operand.
template <int N, typename Fn>
[[gnu::always_inline]] inline void Unroll(Fn&& fn) {
  if constexpr (N > 0) {
    Unroll<N - 1>(fn);
    fn.template operator()<N - 1>();
  }
}

// Positive: left.
template <int kBits>
[[gnu::always_inline]] inline __m512i Shift(__m512i value) {
  if constexpr (kBits >= 0) {
    return _mm512_slli_epi32(value, kBits);
  } else {
    return _mm512_srli_epi32(value, -kBits);
  }
}

// The 8 vectors of a unit (packed_format.h): unsigned codes, 16 rows x 4 columns each.
struct UnitCodes {
  __m512i v[8];
};

template <PackedFormat F>
[[gnu::always_inline]] inline UnitCodes LoadCodes(const PanelView& panel, int unit) {
  const UnitOffsets at = OffsetsOf(F, unit);
  const uint8_t* low = panel.data + at.low;
  const uint8_t* high = panel.data + at.high;
  UnitCodes codes;
  if constexpr (F.bits == 8) {
    for (int v = 0; v < 8; ++v) codes.v[v] = _mm512_loadu_si512(low + 64 * v);
    return codes;
  }
  const __m512i nibble = _mm512_set1_epi8(15);
  for (int v = 0; v < 4; ++v) {
    const __m512i pair = _mm512_loadu_si512(low + 64 * v);
    codes.v[v] = _mm512_and_si512(pair, nibble);
    codes.v[v + 4] = _mm512_and_si512(_mm512_srli_epi32(pair, 4), nibble);
  }
  constexpr int kOrAnd = 0xf8;  // a | (b & c)
  if constexpr (F.bits == 5) {
    const __m512i bits = _mm512_loadu_si512(high);
    const __m512i fifth = _mm512_set1_epi8(16);
    Unroll<8>([&]<int v>() {
      codes.v[v] = _mm512_ternarylogic_epi32(codes.v[v], Shift<4 - v>(bits), fifth, kOrAnd);
    });
  } else if constexpr (F.bits == 6) {
    const __m512i upper = _mm512_set1_epi8(48);
    const __m512i bits[2] = {_mm512_loadu_si512(high), _mm512_loadu_si512(high + 64)};
    Unroll<8>([&]<int v>() {
      codes.v[v] =
          _mm512_ternarylogic_epi32(codes.v[v], Shift<4 - 2 * (v % 4)>(bits[v / 4]), upper, kOrAnd);
    });
  }
  return codes;
}

// Scale and minimum of the 16 rows for each half (16 columns) of a unit; equal halves but for
// kSuperSigned16.
struct UnitScales {
  __m512 scale[2];
  __m512 minimum;
};

[[gnu::always_inline]] inline __m512 LoadHalves(const uint8_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

[[gnu::always_inline]] inline __m128i LoadBytes(const uint8_t* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

template <PackedFormat F>
[[gnu::always_inline]] inline UnitScales LoadScales(const PanelView& panel, int unit) {
  const UnitOffsets at = OffsetsOf(F, unit);
  [[maybe_unused]] const auto bytes = [&](size_t offset) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(LoadBytes(panel.data + offset)));
  };
  UnitScales s;
  s.scale[0] = LoadHalves(panel.data + at.scale);
  s.minimum = F.has_half_minimum() ? LoadHalves(panel.data + at.minimum) : _mm512_setzero_ps();
  s.scale[1] = s.scale[0];
  if constexpr (F.has_zero()) {
    s.minimum = _mm512_fnmadd_ps(s.scale[0], bytes(at.zero), _mm512_setzero_ps());
  } else if constexpr (F.scales == ScaleKind::kSuperMin) {
    s.scale[0] = s.scale[1] = _mm512_mul_ps(s.scale[0], bytes(at.sub_scale));
    // -(a * b), exactly as DequantizeRow subtracts it.
    s.minimum = _mm512_fnmadd_ps(s.minimum, bytes(at.sub_minimum), _mm512_set1_ps(-0.0f));
  } else if constexpr (F.scales == ScaleKind::kSuperSigned16) {
    const __m512 super = s.scale[0];
    for (int h = 0; h < 2; ++h) {
      const __m128i bytes = LoadBytes(panel.data + at.sub_scale + kPanelRows * h);
      s.scale[h] = _mm512_mul_ps(super, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
    }
  }
  return s;
}

}  // namespace
}  // namespace kvpareto::cpu
