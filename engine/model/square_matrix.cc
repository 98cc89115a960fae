#include "engine/model/square_matrix.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace kvpareto {
namespace {

constexpr double kSmallestPivot = 1e-12;  // of the largest element

void SwapRows(SquareMatrix& matrix, int a, int b) {
  if (a == b) return;
  for (int c = 0; c < matrix.n; ++c) std::swap(matrix(a, c), matrix(b, c));
}

void AddRow(SquareMatrix& matrix, int from, double factor, int to) {
  for (int c = 0; c < matrix.n; ++c) matrix(to, c) += factor * matrix(from, c);
}

}  // namespace

SquareMatrix Transpose(const SquareMatrix& matrix) {
  SquareMatrix result(matrix.n);
  for (int r = 0; r < matrix.n; ++r) {
    for (int c = 0; c < matrix.n; ++c) result(c, r) = matrix(r, c);
  }
  return result;
}

std::optional<SquareMatrix> Inverse(const SquareMatrix& matrix) {
  const int n = matrix.n;
  double largest = 0.0;
  for (double value : matrix.values) {
    if (!std::isfinite(value)) return std::nullopt;
    largest = std::max(largest, std::abs(value));
  }
  SquareMatrix left = matrix, right(n);
  for (int i = 0; i < n; ++i) right(i, i) = 1.0;
  for (int i = 0; i < n; ++i) {
    int pivot = i;
    for (int r = i + 1; r < n; ++r) {
      if (std::abs(left(r, i)) > std::abs(left(pivot, i))) pivot = r;
    }
    if (std::abs(left(pivot, i)) <= kSmallestPivot * largest) return std::nullopt;
    SwapRows(left, i, pivot);
    SwapRows(right, i, pivot);
    const double inverse = 1.0 / left(i, i);
    for (int c = 0; c < n; ++c) {
      left(i, c) *= inverse;
      right(i, c) *= inverse;
    }
    for (int r = 0; r < n; ++r) {
      const double factor = -left(r, i);
      if (r == i || factor == 0.0) continue;
      AddRow(left, i, factor, r);
      AddRow(right, i, factor, r);
    }
  }
  return right;
}

SquareMatrix BlockHadamard(int n) {
  SquareMatrix result(n);
  for (int begin = 0; begin < n;) {
    const int size = static_cast<int>(std::bit_floor(static_cast<unsigned>(n - begin)));
    const double magnitude = 1.0 / std::sqrt(size);
    for (int r = 0; r < size; ++r) {
      for (int c = 0; c < size; ++c) {
        const bool negative = std::popcount(static_cast<unsigned>(r & c)) % 2 == 1;
        result(begin + r, begin + c) = negative ? -magnitude : magnitude;
      }
    }
    begin += size;
  }
  return result;
}

}  // namespace kvpareto
