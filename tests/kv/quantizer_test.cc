#include "engine/kv/quantizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace kvpareto::kv {
namespace {

// The paper's formulas with signed codes, in double precision, given the scale.
double PaperRoundTrip(double x, double min, double scale, int bits) {
  const double qmin = -std::ldexp(1.0, bits - 1);
  const double qmax = -qmin - 1;
  const double z = std::nearbyint(qmin - min / scale);
  const double q = std::fmin(std::fmax(std::nearbyint(x / scale + z), qmin), qmax);
  return (q - z) * scale;
}

TEST(QuantizerTest, IsThePapersQuantizerWithShiftedCodes) {
  std::mt19937 random(11);
  std::uniform_real_distribution<float> uniform(-4.0f, 9.0f);
  for (int bits : {2, 3, 4, 6, 8}) {
    const int max_code = (1 << bits) - 1;
    int ties = 0;
    for (int trial = 0; trial < 2000; ++trial) {
      const float a = uniform(random), b = uniform(random), u = uniform(random);
      const float min = std::fmin(a, b), max = std::fmax(a, b);
      const float x = std::fmin(std::fmax(u, min), max);
      const QuantParams params = FitParams(min, max, max_code);
      const float ours = Dequantize(Quantize(x, params, max_code), params);
      const double paper = PaperRoundTrip(x, min, params.scale, bits);
      // Float rounding is below 2^-8 steps (codec_test.cc derives it); a quotient that close to a
      // tie may round the other way: one whole step, rarely.
      if (std::abs(ours - paper) > 0x1p-8 * params.scale) {
        ++ties;
        EXPECT_NEAR(std::abs(ours - x), params.scale / 2, 0x1p-8 * params.scale);
      }
    }
    EXPECT_LE(ties, 2);
  }
}

TEST(QuantizerTest, StoredScaleIsTheSmallestFp16ThatDoesNotClip) {
  std::mt19937 random(12);
  std::uniform_real_distribution<float> exponent(-20.0f, 15.0f);
  for (int trial = 0; trial < 20000; ++trial) {
    const float x = std::exp2(exponent(random));
    const uint16_t up = F16RoundUp(x);
    ASSERT_GE(F16ToFloat(up), x);
    ASSERT_LT(F16ToFloat(up - 1), x);
  }
  EXPECT_EQ(F16RoundUp(1.0f), 0x3c00);
  EXPECT_EQ(F16RoundUp(std::nextafter(1.0f, 2.0f)), 0x3c01);
  EXPECT_EQ(F16RoundUp(kMinScale), 1);
}

TEST(QuantizerTest, FarGroupsGetAScaleThatKeepsTheZeroPointInInt16) {
  const QuantParams params = FitParams(899.5f, 900.5f, 255);
  EXPECT_GE(params.scale, 900.5f / 32767.0f);
  EXPECT_GE(params.zero, -32768);
  EXPECT_LT(params.zero, -32000);
  for (float x : {899.5f, 900.0f, 900.5f}) {
    EXPECT_NEAR(Dequantize(Quantize(x, params, 255), params), x, params.scale * 0.504);
  }
}

TEST(QuantizerTest, LargestRangeOfTheSmallestCodesFits) {
  const QuantParams params = FitParams(-kMaxMagnitude, kMaxMagnitude, 3);
  EXPECT_TRUE(std::isfinite(params.scale));
  EXPECT_NEAR(Dequantize(Quantize(kMaxMagnitude, params, 3), params), kMaxMagnitude,
              params.scale * 0.504);
}

TEST(QuantizerTest, ClipKeepsTheMiddleOfTheRange) {
  const Extremes half = ClipRange({-2.0f, 6.0f}, 0.5f);
  EXPECT_EQ(half.min, 0.0f);
  EXPECT_EQ(half.max, 4.0f);
  // No clip is no arithmetic: 0.1 would not come back from middle and width.
  const Extremes whole = ClipRange({0.1f, 1e9f}, 1.0f);
  EXPECT_EQ(whole.min, 0.1f);
  EXPECT_EQ(whole.max, 1e9f);
  const QuantParams params = FitParams(half.min, half.max, 15);
  EXPECT_NEAR(params.scale, 4.0f / 15, 1e-3f);
  EXPECT_EQ(Quantize(6.0f, params, 15), 15);
  EXPECT_EQ(Quantize(-2.0f, params, 15), 0);
}

TEST(QuantizerTest, InvertedRangeIsAPoint) {
  const QuantParams params = FitParams(2.0f, -2.0f, 15);
  EXPECT_GT(params.scale, 0.0f);
  EXPECT_NEAR(Dequantize(Quantize(2.0f, params, 15), params), 2.0f, params.scale * 0.504);
}

TEST(QuantizerTest, RoundsTiesToEven) {
  EXPECT_EQ(RoundToInt(0.5f), 0);
  EXPECT_EQ(RoundToInt(1.5f), 2);
  EXPECT_EQ(RoundToInt(2.5f), 2);
  EXPECT_EQ(RoundToInt(-0.5f), 0);
  EXPECT_EQ(RoundToInt(-1.5f), -2);
  EXPECT_EQ(RoundToInt(32767.0f), 32767);
}

TEST(QuantizerTest, SaturateIsFinite) {
  EXPECT_EQ(Saturate(std::nanf("")), 0.0f);
  EXPECT_EQ(Saturate(HUGE_VALF), kMaxMagnitude);
  EXPECT_EQ(Saturate(-HUGE_VALF), -kMaxMagnitude);
  EXPECT_EQ(Saturate(-1.5f), -1.5f);
}

}  // namespace
}  // namespace kvpareto::kv
