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

// The nearest code, as a float. In a form that compilers turn into vector code.
inline float CodeOf(float value, GroupScale group) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it rounds |x| < 2^22 to an integer
  float steps = value / group.scale;
  steps = steps < -16.0f ? -16.0f : steps;  // codes are at most 15 steps from zero
  steps = steps > 16.0f ? 16.0f : steps;
  const float code = (steps + kShift) - kShift + group.zero;
  const float above = code < 0.0f ? 0.0f : code;
  return above > 15.0f ? 15.0f : above;
}

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

  GroupScale group(int64_t row, int64_t index) const;
};

// Scales and zeros of the matrix's groups; codes are 0.
GroupCodes FitGroups(const Matrix& matrix, int group_size);

// Likewise, with the nearest codes.
GroupCodes EncodeGroups(const Matrix& matrix, int group_size);

// What the codes stand for.
Matrix DecodeGroups(const GroupCodes& codes);

}  // namespace kvpareto::tune
