#include "autotuner/matrix_product.h"

#include <cmath>

#include "autotuner/matrix_product_kernel.h"
#include "gtest/gtest.h"
#include "tests/autotuner/synthetic_layers.h"

namespace kvpareto::tune {
namespace {

Matrix Random(int64_t rows, int64_t cols, int seed) {
  return Matrix(rows, cols, RandomFloats(rows * cols, 0.0f, 1.0f, seed));
}

// |error| of a sum of `cols` products of numbers about 1.
double Tolerance(int64_t cols) { return 8.0 * cols * 0x1p-24; }

void ExpectProduct(const Matrix& x, const Matrix& w, const std::vector<float>& y) {
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t n = 0; n < w.rows; ++n) {
      double sum = 0.0;
      for (int64_t c = 0; c < x.cols; ++c) sum += double{x.row(r)[c]} * w.row(n)[c];
      ASSERT_NEAR(y[r * w.rows + n], sum, Tolerance(x.cols)) << r << ", " << n;
    }
  }
}

TEST(MatrixProduct, EqualsDoublePrecisionInEveryShape) {
  for (const int64_t rows : {1, 5, 12, 25}) {
    for (const int64_t outputs : {1, 31, 32, 70}) {
      for (const int64_t cols : {1, 17, 256, 600}) {
        const Matrix x = Random(rows, cols, 1), w = Random(outputs, cols, 2);
        std::vector<float> y(rows * outputs, NAN);
        MultiplyTransposed(PackedRows(x.view()), w.view(), y.data(), 2);
        ExpectProduct(x, w, y);
      }
    }
  }
}

TEST(MatrixProduct, DoesNotDependOnTheThreads) {
  const Matrix x = Random(40, 700, 3), w = Random(300, 700, 4);
  const PackedRows packed(x.view());
  std::vector<float> one(40 * 300), four(40 * 300);
  MultiplyTransposed(packed, w.view(), one.data(), 1);
  MultiplyTransposed(packed, w.view(), four.data(), 4);
  EXPECT_EQ(one, four);
}

// The plain code, which machines with AVX2 never enter: a panel of x of four rows is four rows of
// the tile.
TEST(MatrixProduct, PlainCodeMultipliesToo) {
  using Kernel = TileKernel<4, 4>;
  constexpr int kDepthTested = 30;
  const Matrix x = Random(kDepthTested, Kernel::kXRows, 5),
               w = Random(kDepthTested, Kernel::kWRows, 6);
  float sums[Kernel::kXRows * Kernel::kWRows];
  Kernel::Multiply(x.values.data(), w.values.data(), kDepthTested, sums);
  for (int r = 0; r < Kernel::kXRows; ++r) {
    for (int n = 0; n < Kernel::kWRows; ++n) {
      double sum = 0.0;
      for (int k = 0; k < kDepthTested; ++k) sum += double{x.row(k)[r]} * w.row(k)[n];
      EXPECT_NEAR(sums[r * Kernel::kWRows + n], sum, Tolerance(kDepthTested));
    }
  }
}

}  // namespace
}  // namespace kvpareto::tune
