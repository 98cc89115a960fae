// Random weights in any tensor type, without a quantizer: codes are random, scales are set so that
// the decoded values have mean about 0 and standard deviation about `sigma`.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/base/tensor.h"
#include "tests/support/random.h"

namespace kvpareto::support {

// `elements` is a multiple of the type's block_elements.
std::vector<std::byte> RandomBlocks(TensorType type, int64_t elements, float sigma, Random& random);

// Values in a float type (F32, F16, BF16).
std::vector<std::byte> EncodeFloats(TensorType type, const std::vector<float>& values);

}  // namespace kvpareto::support
