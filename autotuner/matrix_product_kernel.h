// The product of PackedRows with a panel of w, for files compiled for one instruction set each:
// everything is in an anonymous namespace, so that no copy compiled for another one can replace it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "autotuner/matrix_product_task.h"

namespace kvpareto::tune {
namespace {

// Columns that a panel of w is taken in at a time, to stay in the first-level cache.
constexpr int64_t kDepth = 256;

// kRows rows of x by 2 vectors of rows of w: their sums stay in registers.
template <int kLanes, int kRows>
struct TileKernel {
  typedef float Vector __attribute__((vector_size(sizeof(float) * kLanes)));
  static constexpr int kXRows = kRows, kWRows = 2 * kLanes;

  // sums [kXRows, kWRows] of x [depth, kXRows] and w [depth, kWRows].
  static void Multiply(const float* x, const float* w, int64_t depth, float* sums) {
    Vector sum[kRows][2] = {};
    for (int64_t k = 0; k < depth; ++k, x += kRows, w += kWRows) {
      Vector left, right;
      std::memcpy(&left, w, sizeof(left));
      std::memcpy(&right, w + kLanes, sizeof(right));
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        sum[r][0] += left * x[r];
        sum[r][1] += right * x[r];
      }
    }
    std::memcpy(sums, sum, sizeof(sum));
  }

  // Rows [first, first + kWRows) of w, columns from `col` on, to [depth, kWRows]; zero past the
  // end.
  static void PackW(MatrixView w, int64_t first, int64_t col, int64_t depth, float* to) {
    for (int r = 0; r < kWRows; ++r) {
      const float* from = w.row(std::min(first + r, w.rows - 1)) + col;
      for (int64_t k = 0; k < depth; ++k) to[k * kWRows + r] = from[k];
    }
  }

  static void Run(const ProductTask& task, int64_t panel) {
    alignas(64) float w[kDepth * kWRows];
    alignas(64) float sums[kXRows * kWRows];
    const int64_t first = panel * kWRows, cols = task.w.cols;
    const int64_t outputs = std::min<int64_t>(kWRows, task.w.rows - first);
    for (int64_t col = 0; col < cols; col += kDepth) {
      const int64_t depth = std::min(kDepth, cols - col);
      PackW(task.w, first, col, depth, w);
      for (int64_t p = 0; p < task.x->panels(); ++p) {
        Multiply(task.x->panel(p) + col * kXRows, w, depth, sums);
        const int64_t rows = std::min<int64_t>(kXRows, task.x->rows() - p * kXRows);
        for (int64_t r = 0; r < rows; ++r) {
          float* y = task.y + (p * kXRows + r) * task.w.rows + first;
          const float* sum = sums + r * kWRows;
          for (int64_t n = 0; n < outputs; ++n) y[n] = col == 0 ? sum[n] : y[n] + sum[n];
        }
      }
    }
  }
};

}  // namespace
}  // namespace kvpareto::tune
