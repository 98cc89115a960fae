// A row-major matrix of floats.
#pragma once

#include <cstdint>
#include <vector>

namespace kvpareto::tune {

struct MatrixView {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  const float* row(int64_t r) const { return data + r * cols; }
};

struct Matrix {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<float> values;  // [rows, cols]

  Matrix() = default;
  Matrix(int64_t rows, int64_t cols) : rows(rows), cols(cols), values(rows * cols) {}
  Matrix(int64_t rows, int64_t cols, std::vector<float> values)
      : rows(rows), cols(cols), values(std::move(values)) {}

  float* row(int64_t r) { return values.data() + r * cols; }
  const float* row(int64_t r) const { return values.data() + r * cols; }
  MatrixView view() const { return {values.data(), rows, cols}; }
};

}  // namespace kvpareto::tune
