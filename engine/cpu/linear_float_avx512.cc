#include <immintrin.h>

#include "engine/cpu/linear_float.h"

namespace kvpareto::cpu {
namespace {

// 12 rows x 2 panels: 24 sums, 2 weights and a broadcast fill the 32 registers.
template <int kRows, int kPanels>
void Multiply(const float* decoded, size_t panel_stride, const float* x, int cols, float* out) {
  __m512 sums[kRows][kPanels];
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) sums[r][p] = _mm512_setzero_ps();
  }
  for (int c = 0; c < cols; ++c, decoded += kPanelRows) {
    __m512 weights[kPanels];
    for (int p = 0; p < kPanels; ++p) weights[p] = _mm512_loadu_ps(decoded + p * panel_stride);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const __m512 broadcast = _mm512_set1_ps(x[static_cast<size_t>(r) * cols + c]);
      for (int p = 0; p < kPanels; ++p) {
        sums[r][p] = _mm512_fmadd_ps(weights[p], broadcast, sums[r][p]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) {
      _mm512_storeu_ps(out + (r * kPanels + p) * kPanelRows, sums[r][p]);
    }
  }
}

template <int kPanels>
void MultiplyRows(const float* decoded, size_t panel_stride, const float* x, int cols, int rows,
                  float* out) {
  if (rows == kFloatRowsPerPass) {
    return Multiply<kFloatRowsPerPass, kPanels>(decoded, panel_stride, x, cols, out);
  }
  int row = 0;
  const auto pass = [&]<int kRows>() {
    for (; row + kRows <= rows; row += kRows) {
      Multiply<kRows, kPanels>(decoded, panel_stride, x + static_cast<size_t>(row) * cols, cols,
                               out + row * kPanels * kPanelRows);
    }
  };
  pass.template operator()<4>();
  pass.template operator()<1>();
}

}  // namespace

void MultiplyFloatAvx512(const float* decoded, size_t panel_stride, int panels, const float* x,
                         int cols, int rows, float* out) {
  if (panels == 2) {
    MultiplyRows<2>(decoded, panel_stride, x, cols, rows, out);
  } else {
    MultiplyRows<1>(decoded, panel_stride, x, cols, rows, out);
  }
}

}  // namespace kvpareto::cpu
