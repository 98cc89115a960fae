// Decode rows on AVX2, AVX-512 and AMX. A row's activations become 16-bit integers with a scale per
// 32 columns and meet the unsigned weight codes in integer dot products: on AVX-512 split into two
// signed bytes, 4-way (VNNI), on AVX2 whole, with codes widened to 16 bits. Both are exact; the
// error is that of rounding activations to 1/32512 of their group's largest, 100 times finer than
// bf16. It costs a third of unpacking codes to floats, so one core keeps up with its memory. Panels
// of bf16 are multiplied in f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/cpu/packed_format.h"

namespace kvpareto::cpu {

inline constexpr int kDecodeRowsPerPass = 8;

// Activations of up to a block of decode rows. units = cols / 32, rounded up. Rows that are
// multiplied in one pass lie together, unit by unit: element (row, unit) is at IndexOf(), and its
// neighbours in the pass follow it.
struct QuantizedRows {
  const float* x = nullptr;  // [rows, cols], the source: panels of bf16 read it
  int cols = 0;
  int units = 0;
  int rows_per_pass = kDecodeRowsPerPass;  // fewer, if there are no more rows
  // x / step: as 256 high + low, [2 (high, low), 32] each (AVX-512), or whole, every four columns
  // in the order 0 2 1 3 (AVX2).
  int8_t* bytes = nullptr;
  int16_t* whole = nullptr;
  float* step = nullptr;
  float* step_sum = nullptr;  // step * sum of the unit, for minima
  int32_t* sum = nullptr;     // [2]: of the integers of each half unit, for offsets
  bool prefetch = false;      // ask for panels ahead of the one that is multiplied

  size_t IndexOf(int row, int unit) const {
    const size_t pass = row / rows_per_pass;
    return (pass * units + unit) * rows_per_pass + row % rows_per_pass;
  }
};

// What L2 is asked for while a unit is multiplied: its share of the stream of panels, this far
// behind it. That may lie past the weight: a prefetch does not fault.
inline constexpr size_t kStreamAheadBytes = 16384;
template <PackedFormat F>
inline constexpr int kShareBytes = F.record_bytes() / F.record_units();
template <PackedFormat F>
inline constexpr int kShareLines = (kShareBytes<F> + 63) / 64;
template <PackedFormat F>
[[gnu::always_inline]] inline const uint8_t* StreamAhead(const PanelView& panel, int unit) {
  return panel.data + kStreamAheadBytes + static_cast<size_t>(unit) * kShareBytes<F>;
}

void QuantizeRowAvx2(const QuantizedRows& rows, int row);
void QuantizeRowAvx512(const QuantizedRows& rows, int row);

// out [panels, num_rows, 16] = rows [first_row, first_row + num_rows) of one pass times panels of
// one format. A row's arithmetic depends neither on num_rows nor on the number of panels.
void DecodeRowsAvx2(std::span<const PanelView> panels, const QuantizedRows& rows, int first_row,
                    int num_rows, float* out);
void DecodeRowsAvx512(std::span<const PanelView> panels, const QuantizedRows& rows, int first_row,
                      int num_rows, float* out);
// The same bits. first_row begins a pass; memory of kDecodeRowsPerPass rows from it on is there.
void DecodeRowsAmx(std::span<const PanelView> panels, const QuantizedRows& rows, int first_row,
                   int num_rows, float* out);

}  // namespace kvpareto::cpu
