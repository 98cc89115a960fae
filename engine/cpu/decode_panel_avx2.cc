#include "engine/cpu/decode_panel.h"
#include "engine/cpu/panel_codes_avx2.h"

namespace kvpareto::cpu {
namespace {

// scale * code is exact in a float for every format, so fused and separate multiply-adds agree.
template <PackedFormat F>
void DecodeUnit(const PanelView& panel, UnitPlace place, float* out) {
  constexpr bool kMinimum = F.has_minimum();
  const __m256i byte = _mm256_set1_epi32(255), offset = _mm256_set1_epi32(F.offset());
  const UnitScales scales = LoadScales<F>(panel, place);
#pragma GCC unroll 8
  for (int v = 0; v < 8; ++v) {
    const __m256i codes = LoadCodes<F>(panel, place, v);
    const __m256 scale = scales.scale[v / 4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m256i code = _mm256_and_si256(_mm256_srli_epi32(codes, 8 * j), byte);
      const __m256 centred = _mm256_cvtepi32_ps(_mm256_sub_epi32(code, offset));
      _mm256_storeu_ps(out + (4 * v + j) * kPanelRows,
                       kMinimum ? _mm256_fmadd_ps(scale, centred, scales.minimum)
                                : _mm256_mul_ps(scale, centred));
    }
  }
}

template <PackedFormat F>
void Decode(const PanelView& panel, float* out) {
  const int units = panel.layout->padded_cols / kUnitCols;
  for (int unit = 0; unit < units; ++unit, out += kUnitCols * kPanelRows) {
    for (int half = 0; half < 2; ++half) {
      DecodeUnit<F>(panel, {unit, half}, out + kLanes * half);
    }
  }
}

template <>
void Decode<kPackedBf16>(const PanelView& panel, float* out) {
  for (int c = 0; c < panel.layout->padded_cols; c += 2, out += 2 * kPanelRows) {
    for (int half = 0; half < 2; ++half) {
      const Bf16Columns columns = LoadBf16Columns(panel, c, half);
      _mm256_storeu_ps(out + kLanes * half, columns.even);
      _mm256_storeu_ps(out + kPanelRows + kLanes * half, columns.odd);
    }
  }
}

}  // namespace

void DecodePanelAvx2(const PanelView& panel, float* out) {
  VisitFormat(panel.layout->format, [&]<PackedFormat F>() { Decode<F>(panel, out); });
}

}  // namespace kvpareto::cpu
