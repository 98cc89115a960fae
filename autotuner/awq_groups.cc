#include "autotuner/awq_groups.h"

#include <algorithm>

#include "engine/base/float16.h"

namespace kvpareto::tune {
namespace {

constexpr float kSteps = 15.0f;
constexpr float kMinRange = 1e-5f;

// Nearest integer, ties to even, for |x| < 2^22: a form that compilers turn into vector code.
inline float Round(float x) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23
  return (x + kShift) - kShift;
}

inline float Clamp(float x, float low, float high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

// Codes are at most 15 steps from zero, so anything beyond 16 is clamped later: before that it
// only has to stay within Round's range.
inline float CodeOf(float value, GroupScale group) {
  return Clamp(Round(Clamp(value / group.scale, -16.0f, 16.0f)) + group.zero, 0.0f, kSteps);
}

}  // namespace

GroupScale FitGroup(const float* values, int count) {
  float low = 0.0f, high = 0.0f;
  for (int i = 0; i < count; ++i) {
    low = values[i] < low ? values[i] : low;
    high = values[i] > high ? values[i] : high;
  }
  const float range = std::max(high - low, kMinRange);
  const float scale = F16ToFloat(FloatToF16(range / kSteps));
  return {.scale = scale, .zero = Clamp(Round(-low / scale), 0.0f, kSteps)};
}

void RoundToGroups(int group_size, float* values, int64_t count) {
  for (float* group = values; group < values + count; group += group_size) {
    const GroupScale fit = FitGroup(group, group_size);
    for (int i = 0; i < group_size; ++i) {
      group[i] = (CodeOf(group[i], fit) - fit.zero) * fit.scale;
    }
  }
}

GroupCodes EncodeGroups(const Matrix& matrix, int group_size) {
  GroupCodes out{.rows = matrix.rows, .cols = matrix.cols, .group_size = group_size};
  out.codes.resize(matrix.values.size());
  out.zeros.resize(matrix.values.size() / group_size);
  out.scales.resize(out.zeros.size());
  for (size_t g = 0; g < out.zeros.size(); ++g) {
    const size_t first = g * group_size;
    const GroupScale fit = FitGroup(&matrix.values[first], group_size);
    out.zeros[g] = static_cast<uint8_t>(fit.zero);
    out.scales[g] = FloatToF16(fit.scale);
    for (int i = 0; i < group_size; ++i) {
      out.codes[first + i] = static_cast<uint8_t>(CodeOf(matrix.values[first + i], fit));
    }
  }
  return out;
}

}  // namespace kvpareto::tune
