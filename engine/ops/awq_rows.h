// Rows of a kAwq4 matrix, taken out of the transposed words that a checkpoint holds.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/tensor.h"

namespace kvpareto {

// value [r, c] = scale [r, g] * (code [r, c] - zero [r, g]), g = c / group_cols.
struct AwqRows {
  int groups = 0;
  std::vector<uint8_t> codes;    // [rows, cols], 0..15
  std::vector<uint16_t> scales;  // f16 [rows, groups]
  std::vector<uint8_t> zeros;    // [rows, groups], 0..15
};

// Rows [first_row, first_row + num_rows). first_row is a multiple of kAwqWordRows; a run of 16 rows
// or more reads every cache line of the file about once.
AwqRows UnpackAwqRows(const TensorView& tensor, int64_t first_row, int num_rows);

// The widest of 128, 64 and 32 columns that no group boundary cuts: what kernels share a scale
// over.
int AwqKernelGroup(const TensorView& tensor);

}  // namespace kvpareto
