// Rows of any tensor as floats.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/tensor.h"

namespace kvpareto {

// Rows [first_row, first_row + num_rows) in the engine's order: [num_rows, cols]. A vector is one
// row. Of kAwq4, first_row is a multiple of kAwqWordRows; of vectors that are reordered, the type
// must be one of single elements.
std::vector<float> DequantizeRows(const TensorView& tensor, int64_t first_row, int64_t num_rows);

// All of them.
std::vector<float> DequantizeAll(const TensorView& tensor);

}  // namespace kvpareto
