// A tensor of a model file as a packed matrix in host memory.
#pragma once

#include <vector>

#include "engine/base/tensor.h"
#include "engine/cuda/packed_matrix.h"

namespace kvpareto::cuda {

struct HostMatrix {
  PackedMatrix shape;  // pointers unset
  std::vector<uint8_t> codes;
  std::vector<uint8_t> params;
  std::vector<uint8_t> supers;
};

// Codes keep their values; f32 and f16 matrices are rounded to bf16. Uses all cores.
HostMatrix PackMatrix(const TensorView& tensor);

// Whether the rows of `next` can follow those of `matrix`, and their appending: panels are whole,
// and both of one form.
bool CanAppend(const HostMatrix& matrix, const HostMatrix& next);
void Append(const HostMatrix& next, HostMatrix& matrix);

}  // namespace kvpareto::cuda
