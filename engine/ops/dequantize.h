// GGUF block formats to floats: the scalar definition of each, which fast repacking is tested
// against.
#pragma once

#include <cstddef>
#include <span>

#include "engine/base/tensor.h"

namespace kvpareto {

// Decodes one row. `out.size()` is the number of elements, a multiple of the type's block_elements;
// `blocks` holds exactly that many.
void DequantizeRow(TensorType type, std::span<const std::byte> blocks, std::span<float> out);

}  // namespace kvpareto
