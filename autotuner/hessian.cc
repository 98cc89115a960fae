#include "autotuner/hessian.h"

#include <algorithm>
#include <cmath>

#include "autotuner/matrix_product.h"
#include "autotuner/parallel.h"

namespace kvpareto::tune {
namespace {

constexpr int64_t kStripe = 192;  // rows of H that one task adds to

// x^T with every token times the root of its weight, [in, tokens].
Matrix WeightedColumns(MatrixView x, const std::vector<float>& token_weights, int threads) {
  Matrix columns(x.cols, x.rows);
  const int stripes = static_cast<int>((x.cols + kStripe - 1) / kStripe);
  ParallelFor(stripes, threads, [&](int stripe) {
    const int64_t first = stripe * kStripe, last = std::min(x.cols, first + kStripe);
    for (int64_t t = 0; t < x.rows; ++t) {
      const float factor = token_weights.empty() ? 1.0f : std::sqrt(token_weights[t]);
      for (int64_t c = first; c < last; ++c) columns.row(c)[t] = factor * x.row(t)[c];
    }
  });
  return columns;
}

}  // namespace

void Hessian::Add(MatrixView x, const std::vector<float>& token_weights, int threads) {
  const Matrix columns = WeightedColumns(x, token_weights, threads);
  const int stripes = static_cast<int>((x.cols + kStripe - 1) / kStripe);
  ParallelFor(stripes, threads, [&](int i) {
    const int64_t first = (stripes - 1 - i) * kStripe;  // the longest rows first
    const int64_t last = std::min(x.cols, first + kStripe);
    const PackedRows rows(MatrixView{columns.row(first), last - first, x.rows});
    Matrix product(last - first, last);
    MultiplyTransposed(rows, {columns.row(0), last, x.rows}, product.values.data(), 1);
    for (int64_t r = first; r < last; ++r) {
      for (int64_t c = 0; c <= r; ++c) lower_.row(r)[c] += product.row(r - first)[c];
    }
  });
}

void Hessian::DivideInputs(const std::vector<float>& scales) {
  for (int64_t r = 0; r < lower_.rows; ++r) {
    for (int64_t c = 0; c <= r; ++c) lower_.row(r)[c] /= scales[r] * scales[c];
  }
}

}  // namespace kvpareto::tune
