// AutoAWQ's quantizer: 16 steps between the lowest and the highest value of a group.
#pragma once

#include <cstdint>
#include <vector>

#include "autotuner/matrix.h"

namespace kvpareto::tune {

// value ~ scale * (code - zero) with scale = (max - min) / 15, at least 1e-5 / 15, as float16 holds
// it; zero = round(-min / scale); code = round(value / scale) + zero; both in 0..15. The range
// takes in 0, so that a group of one sign keeps its largest value. Ties go to even.
struct GroupScale {
  float scale = 0.0f;
  float zero = 0.0f;
};
GroupScale FitGroup(const float* values, int count);

// Replaces each group of `group_size` columns by what is left of it: scale * (code - zero).
void RoundToGroups(int group_size, float* values, int64_t count);

// [rows, cols] as codes.
struct GroupCodes {
  int64_t rows = 0;
  int64_t cols = 0;
  int group_size = 0;
  std::vector<uint8_t> codes;    // [rows, cols], 0..15
  std::vector<uint8_t> zeros;    // [rows, cols / group_size], 0..15
  std::vector<uint16_t> scales;  // f16 [rows, cols / group_size]
};
GroupCodes EncodeGroups(const Matrix& matrix, int group_size);

}  // namespace kvpareto::tune
