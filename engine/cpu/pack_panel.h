// Rows of a model file into a panel.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/base/tensor.h"
#include "engine/cpu/packed_format.h"

namespace kvpareto::cpu {

// The packed format that keeps the tensor's precision (f32 and f16 matrices are rounded to bf16).
PackedFormat PackedFormatOf(const TensorView& tensor);

// Fills a zeroed panel (layout.bytes at `panel`) from up to 16 rows of `type`; rows[r] is the data
// of row r, null for a row that does not exist. Every block is rearranged in place of being
// decoded, so loading runs near the speed of memory.
void PackPanel(TensorType type, const PanelLayout& layout,
               const std::array<const std::byte*, kPanelRows>& rows, uint8_t* panel);

// The same for rows [first_row, first_row + num_rows), at most 16, of a kAwq4 matrix.
void PackAwqPanel(const TensorView& tensor, int first_row, int num_rows, const PanelLayout& layout,
                  uint8_t* panel);

}  // namespace kvpareto::cpu
