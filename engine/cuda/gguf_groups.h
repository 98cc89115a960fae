// The integer codes and scales inside the blocks of model files, as they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/base/tensor.h"
#include "engine/cuda/packed_matrix.h"

namespace kvpareto::cuda {

// A type whose values are code * scale + offset with codes of `bits` bits, in groups.
struct GroupFormat {
  int bits = 0;   // 4 or 8
  int group = 0;  // elements of a group
  ParamKind kind = ParamKind::kHalfOffset;
};

// nullopt for float types.
std::optional<GroupFormat> GroupFormatOf(TensorType type);

// The parameters of a group or a super-block: the bits of fp16 numbers, or bytes, as its ParamKind
// says. `second` is unused where there is but one.
struct StoredPair {
  uint16_t first = 0;
  uint16_t second = 0;
};

// Takes one row apart: codes [cols], groups [cols / group], supers [cols / kSuperCols] for kinds
// that have them. code * scale + offset is what DequantizeRow gives.
void UnpackRow(TensorType type, std::span<const std::byte> row, std::span<uint8_t> codes,
               std::span<StoredPair> groups, std::span<StoredPair> supers);

}  // namespace kvpareto::cuda
