#include "engine/cpu/decode_panel.h"
#include "engine/cpu/panel_codes_avx512.h"

namespace kvpareto::cpu {
namespace {

template <PackedFormat F>
void Decode(const PanelView& panel, float* out) {
  constexpr int kOffset = F.offset();
  constexpr bool kMinimum = F.has_minimum();
  const int units = panel.layout->padded_cols / kUnitCols;
  const __m512i byte = _mm512_set1_epi32(255), offset = _mm512_set1_epi32(kOffset);
  for (int unit = 0; unit < units; ++unit) {
    const UnitCodes codes = LoadCodes<F>(panel, unit);
    const UnitScales scales = LoadScales<F>(panel, unit);
    Unroll<kUnitCols>([&]<int c>() {
      const __m512i code = _mm512_and_si512(Shift<-(c % 4 * 8)>(codes.v[c / 4]), byte);
      const __m512 centred = _mm512_cvtepi32_ps(_mm512_sub_epi32(code, offset));
      const __m512 scale = scales.scale[c / 16];
      _mm512_storeu_ps(out + c * kPanelRows, kMinimum
                                                 ? _mm512_fmadd_ps(scale, centred, scales.minimum)
                                                 : _mm512_mul_ps(scale, centred));
    });
    out += kUnitCols * kPanelRows;
  }
}

template <>
void Decode<kPackedBf16>(const PanelView& panel, float* out) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (int c = 0; c < panel.layout->padded_cols; c += 2, out += 2 * kPanelRows) {
    const __m512i pair = _mm512_loadu_si512(panel.data + sizeof(uint16_t) * kPanelRows * c);
    _mm512_storeu_ps(out, _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)));
    _mm512_storeu_ps(out + kPanelRows, _mm512_castsi512_ps(_mm512_and_si512(pair, upper)));
  }
}

}  // namespace

void DecodePanelAvx512(const PanelView& panel, float* out) {
  VisitFormat(panel.layout->format, [&]<PackedFormat F>() { Decode<F>(panel, out); });
}

}  // namespace kvpareto::cpu
