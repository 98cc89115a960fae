// Tensors that become one weight: what every backend does with them before it repacks them.
#pragma once

#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/tensor.h"

namespace kvpareto {

// Whether `stacked` (not empty) are vectors, or matrices of one width, none empty or too large for
// 32-bit indices, each with all the bytes of its shape. Error: UNIMPLEMENTED (WEIGHT_SHAPE) naming
// the tensor.
absl::Status CheckStackedTensors(std::span<const TensorView> stacked);

// The elements of vectors, one behind the other, in the engine's order. Error: UNIMPLEMENTED
// (WEIGHT_SHAPE) for a vector that must be reordered but is stored in blocks.
absl::StatusOr<std::vector<float>> JoinVectors(std::span<const TensorView> stacked);

}  // namespace kvpareto
