// The integer codes and scales inside the blocks of model files, without decoding them to floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/base/tensor.h"

namespace kvpareto::cuda {

// A type whose values are code * scale + offset with codes of `bits` bits, in groups.
struct GroupFormat {
  int bits = 0;   // 4 or 8
  int group = 0;  // elements of a group
};

// nullopt for float types.
std::optional<GroupFormat> GroupFormatOf(TensorType type);

struct GroupParams {
  float scale = 0.0f;
  float offset = 0.0f;
};

// Takes one row apart: codes [cols], params [cols / group]. code * scale + offset is what
// DequantizeRow gives.
void UnpackRow(TensorType type, std::span<const std::byte> row, std::span<uint8_t> codes,
               std::span<GroupParams> params);

}  // namespace kvpareto::cuda
