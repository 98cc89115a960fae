#include "engine/cpu/linear_float.h"
#include "engine/cpu/packed_format.h"
#include "engine/cpu/vector_avx2.h"

namespace kvpareto::cpu {
namespace {

// 6 rows x 16 outputs: 12 sums, 2 weights and a broadcast fill 15 of the 16 registers.
constexpr int kRowsAtOnce = 6;

template <int kRows>
void Multiply(const float* decoded, const float* x, int cols, float* out, int out_stride) {
  __m256 sums[kRows][2];
  for (auto& row : sums) row[0] = row[1] = _mm256_setzero_ps();
  for (int c = 0; c < cols; ++c, decoded += kPanelRows) {
    const __m256 low = _mm256_loadu_ps(decoded);
    const __m256 high = _mm256_loadu_ps(decoded + kLanes);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m256 broadcast = _mm256_broadcast_ss(x + static_cast<size_t>(r) * cols + c);
      sums[r][0] = _mm256_fmadd_ps(low, broadcast, sums[r][0]);
      sums[r][1] = _mm256_fmadd_ps(high, broadcast, sums[r][1]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    _mm256_storeu_ps(out + r * out_stride, sums[r][0]);
    _mm256_storeu_ps(out + r * out_stride + kLanes, sums[r][1]);
  }
}

}  // namespace

void MultiplyFloatAvx2(const float* decoded, size_t panel_stride, int panels, const float* x,
                       int cols, int rows, float* out) {
  const int out_stride = panels * kPanelRows;
  for (int p = 0; p < panels; ++p, decoded += panel_stride, out += kPanelRows) {
    int row = 0;
    const auto pass = [&]<int kRows>() {
      for (; row + kRows <= rows; row += kRows) {
        Multiply<kRows>(decoded, x + static_cast<size_t>(row) * cols, cols, out + row * out_stride,
                        out_stride);
      }
    };
    pass.template operator()<kRowsAtOnce>();
    pass.template operator()<3>();
    pass.template operator()<1>();
  }
}

}  // namespace kvpareto::cpu
