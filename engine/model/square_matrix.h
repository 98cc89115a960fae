// Small dense square matrices, in double: what transforms are made from at load.
#pragma once

#include <optional>
#include <vector>

namespace kvpareto {

struct SquareMatrix {
  explicit SquareMatrix(int n) : n(n), values(static_cast<size_t>(n) * n, 0.0) {}
  double& operator()(int row, int col) { return values[static_cast<size_t>(row) * n + col]; }
  double operator()(int row, int col) const { return values[static_cast<size_t>(row) * n + col]; }

  int n = 0;
  std::vector<double> values;  // [n, n] row-major
};

SquareMatrix Transpose(const SquareMatrix& matrix);

// By Gauss-Jordan elimination with row pivots; nothing when a pivot is too small beside the largest
// element to trust the result, or an element is not finite.
std::optional<SquareMatrix> Inverse(const SquareMatrix& matrix);

// Orthonormal and symmetric Hadamard blocks of the sizes of n's binary digits, largest first (n =
// 96: 64, 32): Sylvester's construction.
SquareMatrix BlockHadamard(int n);

}  // namespace kvpareto
