// y = x w^T in float, for searches that multiply the same x with many w.
#pragma once

#include <vector>

#include "autotuner/matrix.h"

namespace kvpareto::tune {

// x in the order in which the product reads it: panels of a few rows, column by column.
class PackedRows {
 public:
  explicit PackedRows(MatrixView x);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  const float* panel(int64_t index) const { return values_.data() + index * panel_rows_ * cols_; }
  int64_t panels() const { return (rows_ + panel_rows_ - 1) / panel_rows_; }

 private:
  int64_t rows_, cols_, panel_rows_;
  std::vector<float> values_;  // [panels, cols, panel_rows]
};

// y [x.rows, w.rows], row-major. The result does not depend on the number of threads (0: one per
// core).
void MultiplyTransposed(const PackedRows& x, MatrixView w, float* y, int threads);

}  // namespace kvpareto::tune
