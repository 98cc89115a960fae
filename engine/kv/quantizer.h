// The quantizer of all integer codecs: asymmetric round-to-nearest affine, as KV Pareto
// (arXiv 2512.01953) uses it. Over a group with extremes min and max:
//
//   s = (max - min) / (qmax - qmin)    z = round(qmin - min / s)
//   q = clamp(round(x / s + z))        x~ = (q - z) * s
//
// The paper's codes are signed; here they are shifted by -qmin, so that codes are 0..2^bits-1 and
// the zero point is round(-min / s). x~ is the same. What is stored per group is the scale as fp16
// and the zero point as int16, and codes are computed with the stored values. To make that safe the
// stored scale is
//   * rounded up, so that the extremes are not clipped by fp16 rounding;
//   * at least absmax / 32767, so that the zero point fits int16 (groups far from zero);
//   * at least the smallest positive fp16, so that constant groups work.
// Then every finite |x| <= kMaxMagnitude comes back within half a stored step (and float rounding).
#pragma once

#include <cstdint>

#include "engine/base/float16.h"

namespace kvpareto::kv {

// Inputs saturate here (the largest fp16): then no scale overflows fp16, down to 2-bit codes.
inline constexpr float kMaxMagnitude = 65504.0f;
inline constexpr float kMinScale = 0x1p-24f;
inline constexpr float kMaxZero = 32767.0f;

// What decodes a group: x~ = (code - zero) * scale.
struct QuantParams {
  float scale = kMinScale;  // exactly representable as fp16
  int zero = 0;             // fits int16
};

template <int kBits>
constexpr int MaxCode() {
  return (1 << kBits) - 1;
}

// NaN counts as 0; the rest is clamped to +-kMaxMagnitude.
constexpr float Saturate(float x) {
  if (x != x) return 0.0f;
  return x > kMaxMagnitude ? kMaxMagnitude : x < -kMaxMagnitude ? -kMaxMagnitude : x;
}

// To the nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves no fraction bits.
constexpr int RoundToInt(float x) { return static_cast<int>((x + 0x1.8p23f) - 0x1.8p23f); }

// The smallest fp16 >= x, for 0 < x <= kMaxMagnitude.
constexpr uint16_t F16RoundUp(float x) {
  const uint16_t nearest = FloatToF16(x);
  return static_cast<uint16_t>(F16ToFloat(nearest) < x ? nearest + 1 : nearest);
}

struct Extremes {
  float min = kMaxMagnitude;
  float max = -kMaxMagnitude;
};

// The share `clip` of the range's width about its middle; values outside saturate at its ends. 1
// leaves the range as it is, to the bit.
constexpr Extremes ClipRange(Extremes range, float clip) {
  if (clip == 1.0f) return range;
  const float middle = 0.5f * (range.min + range.max);
  const float half = (0.5f * clip) * (range.max - range.min);
  return {middle - half, middle + half};
}

// `min` and `max` are saturated extremes of the group. A range with max < min counts as the point
// min.
constexpr QuantParams FitParams(float min, float max, int max_code) {
  const float absmax_min = min < 0.0f ? -min : min;
  const float absmax_max = max < 0.0f ? -max : max;
  const float absmax = absmax_min > absmax_max ? absmax_min : absmax_max;
  float scale = (max - min) / static_cast<float>(max_code);
  if (scale < absmax / kMaxZero) scale = absmax / kMaxZero;
  if (scale < kMinScale) scale = kMinScale;
  QuantParams params;
  params.scale = F16ToFloat(F16RoundUp(scale));
  const float zero = -min / params.scale;
  params.zero = RoundToInt(zero > kMaxZero ? kMaxZero : zero < -kMaxZero ? -kMaxZero : zero);
  return params;
}

// `x` is saturated.
constexpr uint8_t Quantize(float x, QuantParams params, int max_code) {
  const float code = x / params.scale + static_cast<float>(params.zero);
  const float limit = static_cast<float>(max_code);
  return static_cast<uint8_t>(RoundToInt(code > limit ? limit : code < 0.0f ? 0.0f : code));
}

constexpr float Dequantize(int code, QuantParams params) {
  return static_cast<float>(code - params.zero) * params.scale;
}

}  // namespace kvpareto::kv
