#include "engine/model/square_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace kvpareto {
namespace {

SquareMatrix Random(int n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<double> normal;
  SquareMatrix matrix(n);
  for (double& x : matrix.values) x = normal(rng);
  return matrix;
}

// Largest |(a b - identity)[i][j]|.
double DistanceFromInverse(const SquareMatrix& a, const SquareMatrix& b) {
  double worst = 0.0;
  for (int r = 0; r < a.n; ++r) {
    for (int c = 0; c < a.n; ++c) {
      double sum = r == c ? -1.0 : 0.0;
      for (int i = 0; i < a.n; ++i) sum += a(r, i) * b(i, c);
      worst = std::max(worst, std::abs(sum));
    }
  }
  return worst;
}

TEST(SquareMatrixTest, InverseOfRandomMatrices) {
  for (int n : {1, 2, 3, 16, 64, 128}) {
    const SquareMatrix matrix = Random(n, n);
    const auto inverse = Inverse(matrix);
    ASSERT_TRUE(inverse.has_value()) << n;
    // Condition numbers of such matrices are a few n; errors grow with them from 2^-53.
    EXPECT_LT(DistanceFromInverse(matrix, *inverse), 1e-9) << n;
    EXPECT_LT(DistanceFromInverse(*inverse, matrix), 1e-9) << n;
  }
}

TEST(SquareMatrixTest, InverseNeedsPivotsAnywhere) {
  SquareMatrix swap(2);
  swap(0, 1) = 2.0;
  swap(1, 0) = 4.0;
  const auto inverse = Inverse(swap);
  ASSERT_TRUE(inverse.has_value());
  EXPECT_EQ((*inverse)(0, 1), 0.25);
  EXPECT_EQ((*inverse)(1, 0), 0.5);
  EXPECT_EQ((*inverse)(0, 0), 0.0);
}

TEST(SquareMatrixTest, NoInverseOfSingularOrInfiniteMatrices) {
  EXPECT_FALSE(Inverse(SquareMatrix(3)).has_value());
  SquareMatrix twice = Random(5, 1);
  for (int c = 0; c < 5; ++c) twice(3, c) = 2.0 * twice(1, c);
  EXPECT_FALSE(Inverse(twice).has_value());
  for (double bad :
       {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    SquareMatrix matrix = Random(4, 2);
    matrix(2, 3) = bad;
    EXPECT_FALSE(Inverse(matrix).has_value());
  }
}

TEST(SquareMatrixTest, TransposeSwapsIndices) {
  const SquareMatrix matrix = Random(7, 3), transposed = Transpose(matrix);
  for (int r = 0; r < 7; ++r) {
    for (int c = 0; c < 7; ++c) EXPECT_EQ(transposed(c, r), matrix(r, c));
  }
}

TEST(SquareMatrixTest, BlockHadamardIsOrthonormalSymmetricAndBlockDiagonal) {
  for (int n : {1, 2, 24, 64, 80, 96, 128, 256}) {
    const SquareMatrix matrix = BlockHadamard(n);
    EXPECT_LT(DistanceFromInverse(matrix, matrix), 1e-12) << n;  // symmetric: its own inverse
    for (int r = 0; r < n; ++r) {
      for (int c = 0; c < n; ++c) EXPECT_EQ(matrix(r, c), matrix(c, r));
    }
  }
  const SquareMatrix matrix = BlockHadamard(96);  // 64 and 32
  for (int c = 0; c < 64; ++c) EXPECT_EQ(std::abs(matrix(63, c)), 0.125);
  for (int c = 64; c < 96; ++c) {
    EXPECT_EQ(matrix(63, c), 0.0);
    EXPECT_DOUBLE_EQ(std::abs(matrix(95, c)), 1 / std::sqrt(32.0));
  }
  EXPECT_GT(matrix(0, 1), 0.0);
  EXPECT_LT(matrix(1, 1), 0.0);
}

}  // namespace
}  // namespace kvpareto
