#include "engine/cpu/decode_panel.h"
#include "engine/cpu/panel_codes_avx512.h"

namespace kvpareto::cpu {
namespace {

// Two columns of 16 rows each, rounded and interleaved: [16, 2] bf16.
[[gnu::always_inline]] inline __m512i InterleaveBf16(__m512 even, __m512 odd, __m512i order) {
  const __m512bh both = _mm512_cvtne2ps_pbh(odd, even);  // 16 even, then 16 odd
  return _mm512_permutexvar_epi16(order, (__m512i)both);
}

template <PackedFormat F>
void Decode(const PanelView& panel, int first_unit, int units, uint16_t* out) {
  constexpr int kOffset = F.offset();
  constexpr bool kMinimum = F.has_minimum();
  const __m512i byte = _mm512_set1_epi32(255);
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  for (int unit = first_unit; unit < first_unit + units; ++unit) {
    const UnitCodes codes = LoadCodes<F>(panel, unit);
    const UnitScales scales = LoadScales<F>(panel, unit);
    // scale * code - scale * offset is exact, so it may be one fused operation.
    __m512 base[2];
    for (int h = 0; h < 2; ++h) {
      base[h] = kMinimum ? scales.minimum
                         : _mm512_mul_ps(scales.scale[h], _mm512_set1_ps(-float{kOffset}));
    }
    for (int v = 0; v < 8; ++v) {
      const auto value = [&](__m512i code) {
        return _mm512_fmadd_ps(scales.scale[v / 4], _mm512_cvtepi32_ps(code), base[v / 4]);
      };
      const __m512i c = codes.v[v];
      const __m512 c0 = value(_mm512_and_si512(c, byte));
      const __m512 c1 = value(_mm512_and_si512(_mm512_srli_epi32(c, 8), byte));
      const __m512 c2 = value(_mm512_and_si512(_mm512_srli_epi32(c, 16), byte));
      const __m512 c3 = value(_mm512_srli_epi32(c, 24));
      _mm512_storeu_si512(out, InterleaveBf16(c0, c1, order));
      _mm512_storeu_si512(out + 32, InterleaveBf16(c2, c3, order));
      out += 64;
    }
  }
}

template <>
void Decode<kPackedBf16>(const PanelView& panel, int first_unit, int units, uint16_t* out) {
  constexpr size_t kUnitBytes = sizeof(uint16_t) * kPanelRows * kUnitCols;
  __builtin_memcpy(out, panel.data + kUnitBytes * first_unit, kUnitBytes * units);
}

}  // namespace

void DecodePanelBf16(const PanelView& panel, int first_unit, int units, uint16_t* out) {
  VisitFormat(panel.layout->format,
              [&]<PackedFormat F>() { Decode<F>(panel, first_unit, units, out); });
}

}  // namespace kvpareto::cpu
