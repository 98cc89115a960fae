// Decode rows on AVX-512. A row's activations become 16-bit integers with a scale per 32 columns,
// split into two signed bytes, and meet the unsigned weight codes in 4-way byte dot products
// (VNNI). The integer part is exact; the error is that of rounding activations to 1/32512 of their
// group's largest, 100 times finer than bf16. It costs a third of unpacking codes to floats, so one
// core keeps up with its memory. Panels of bf16 are multiplied in f32.
#pragma once

#include <cstdint>

#include "engine/cpu/packed_format.h"

namespace kvpareto::cpu {

// Activations of up to a block of decode rows. units = cols / 32, rounded up.
struct QuantizedRows {
  const float* x = nullptr;  // [rows, cols], the source: panels of bf16 read it
  int cols = 0;
  int units = 0;
  int8_t* high = nullptr;     // [rows, units, 32]: x / step = 256 high + low
  int8_t* low = nullptr;      // [rows, units, 32]
  float* step = nullptr;      // [rows, units]
  float* step_sum = nullptr;  // [rows, units]: step * sum of the unit, for minima
  int32_t* sum = nullptr;     // [rows, units, 2]: of the integers of each half unit, for offsets
};

inline constexpr int kDecodeRowsPerPass = 8;

void QuantizeRowAvx512(const QuantizedRows& rows, int row);

// out [num_rows, 16] = rows [first_row, first_row + num_rows) times the panel; num_rows <= 8. A
// row's arithmetic does not depend on num_rows.
void DecodeRowsAvx512(const PanelView& panel, const QuantizedRows& rows, int first_row,
                      int num_rows, float* out);

}  // namespace kvpareto::cpu
