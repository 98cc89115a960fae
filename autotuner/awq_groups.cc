#include "autotuner/awq_groups.h"

#include <algorithm>
#include <cmath>

#include "engine/base/float16.h"

namespace kvpareto::tune {
namespace {

constexpr float kSteps = 15.0f;
constexpr float kMinRange = 1e-5f;

}  // namespace

GroupScale FitGroup(const float* values, int count) {
  float low = 0.0f, high = 0.0f;
  for (int i = 0; i < count; ++i) {
    low = values[i] < low ? values[i] : low;
    high = values[i] > high ? values[i] : high;
  }
  const float range = std::max(high - low, kMinRange);
  const float scale = F16ToFloat(FloatToF16(range / kSteps));
  return {.scale = scale, .zero = std::clamp(std::nearbyint(-low / scale), 0.0f, kSteps)};
}

void RoundToGroups(int group_size, float* values, int64_t count) {
  for (float* group = values; group < values + count; group += group_size) {
    const GroupScale fit = FitGroup(group, group_size);
    for (int i = 0; i < group_size; ++i) {
      group[i] = (CodeOf(group[i], fit) - fit.zero) * fit.scale;
    }
  }
}

GroupScale GroupCodes::group(int64_t row, int64_t index) const {
  const int64_t at = row * (cols / group_size) + index;
  return {F16ToFloat(scales[at]), static_cast<float>(zeros[at])};
}

GroupCodes FitGroups(const Matrix& matrix, int group_size) {
  GroupCodes out{.rows = matrix.rows, .cols = matrix.cols, .group_size = group_size};
  out.codes.resize(matrix.values.size());
  out.zeros.resize(matrix.values.size() / group_size);
  out.scales.resize(out.zeros.size());
  for (size_t g = 0; g < out.zeros.size(); ++g) {
    const GroupScale fit = FitGroup(&matrix.values[g * group_size], group_size);
    out.zeros[g] = static_cast<uint8_t>(fit.zero);
    out.scales[g] = FloatToF16(fit.scale);
  }
  return out;
}

GroupCodes EncodeGroups(const Matrix& matrix, int group_size) {
  GroupCodes out = FitGroups(matrix, group_size);
  for (int64_t r = 0; r < out.rows; ++r) {
    for (int64_t c = 0; c < out.cols; ++c) {
      const float code = CodeOf(matrix.row(r)[c], out.group(r, c / group_size));
      out.codes[r * out.cols + c] = static_cast<uint8_t>(code);
    }
  }
  return out;
}

Matrix DecodeGroups(const GroupCodes& codes) {
  Matrix out(codes.rows, codes.cols);
  for (int64_t r = 0; r < out.rows; ++r) {
    for (int64_t c = 0; c < out.cols; ++c) {
      const GroupScale group = codes.group(r, c / codes.group_size);
      out.row(r)[c] = group.scale * (codes.codes[r * out.cols + c] - group.zero);
    }
  }
  return out;
}

}  // namespace kvpareto::tune
