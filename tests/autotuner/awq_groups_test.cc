// AutoAWQ's quantizer and its words.
#include "autotuner/awq_groups.h"

#include <algorithm>
#include <cmath>

#include "autotuner/awq_pack.h"
#include "engine/base/float16.h"
#include "engine/ops/awq_rows.h"
#include "gtest/gtest.h"
#include "tests/autotuner/synthetic_layers.h"

namespace kvpareto::tune {
namespace {

// The formulas in double precision, value by value.
double Rounded(const std::vector<float>& group, float value) {
  const double low = std::min(0.0f, *std::min_element(group.begin(), group.end()));
  const double high = std::max(0.0f, *std::max_element(group.begin(), group.end()));
  const double scale =
      F16ToFloat(FloatToF16(static_cast<float>(std::max(high - low, 1e-5) / 15.0)));
  const double zero = std::clamp(std::nearbyint(-low / scale), 0.0, 15.0);
  return scale * (std::clamp(std::nearbyint(value / scale) + zero, 0.0, 15.0) - zero);
}

std::vector<std::vector<float>> Groups() {
  std::vector<std::vector<float>> groups = {
      RandomFloats(128, 0.0f, 1.0f, 1),   RandomFloats(64, 3.0f, 1.0f, 2),
      RandomFloats(32, -200.0f, 5.0f, 3), RandomFloats(32, 0.0f, 1e-8f, 4),
      std::vector<float>(32, 0.0f),       std::vector<float>(32, 5.0f),
      std::vector<float>(32, -0.25f)};
  groups[0][7] = 40.0f;
  return groups;
}

TEST(AwqGroups, RoundsToTheNearestOfSixteenSteps) {
  for (const std::vector<float>& group : Groups()) {
    std::vector<float> rounded = group;
    RoundToGroups(static_cast<int>(group.size()), rounded.data(), rounded.size());
    for (size_t i = 0; i < group.size(); ++i) {
      const float expected = static_cast<float>(Rounded(group, group[i]));
      EXPECT_NEAR(rounded[i], expected, 1e-6 * std::abs(expected)) << group[i];
    }
  }
}

TEST(AwqGroups, AGroupOfEqualValuesKeepsThem) {
  std::vector<float> group(32, 5.0f);
  RoundToGroups(32, group.data(), 32);
  for (const float value : group) EXPECT_NEAR(value, 5.0f, 5.0f * 0x1p-10);
}

TEST(AwqGroups, CodesAreTheRoundedValues) {
  const Matrix matrix(8, 128, RandomFloats(8 * 128, 0.1f, 1.0f, 5));
  const GroupCodes codes = EncodeGroups(matrix, 32);
  Matrix rounded = matrix;
  RoundToGroups(32, rounded.values.data(), rounded.values.size());
  for (size_t i = 0; i < matrix.values.size(); ++i) {
    const float scale = F16ToFloat(codes.scales[i / 32]);
    EXPECT_EQ(scale * (codes.codes[i] - codes.zeros[i / 32]), rounded.values[i]) << i;
  }
}

TEST(AwqPack, EveryNibbleIsWhereTheLayoutPutsIt) {
  GroupCodes codes{.rows = 16, .cols = 64, .group_size = 32};
  for (int r = 0; r < 16; ++r) {
    for (int c = 0; c < 64; ++c) codes.codes.push_back((7 * r + 3 * c) % 16);
    for (int g = 0; g < 2; ++g) {
      codes.zeros.push_back((5 * r + g) % 16);
      codes.scales.push_back(static_cast<uint16_t>(100 * r + g));
    }
  }
  const AwqTensors packed = PackAwq(codes);
  constexpr int kNibbleOf[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // of rows 0..7 of a word
  for (int r = 0; r < 16; ++r) {
    const int shift = 4 * kNibbleOf[r % 8];
    for (int c = 0; c < 64; ++c) {
      EXPECT_EQ(packed.qweight[c * 2 + r / 8] >> shift & 15, codes.codes[r * 64 + c]);
    }
    for (int g = 0; g < 2; ++g) {
      EXPECT_EQ(packed.qzeros[g * 2 + r / 8] >> shift & 15, codes.zeros[r * 2 + g]);
      EXPECT_EQ(packed.scales[g * 16 + r], codes.scales[r * 2 + g]);
    }
  }
}

TEST(AwqPack, TheEngineTakesThePartsApartAgain) {
  const Matrix matrix(40, 192, RandomFloats(40 * 192, 0.0f, 1.0f, 6));
  const GroupCodes codes = EncodeGroups(matrix, 64);
  const AwqTensors packed = PackAwq(codes);
  const TensorView view{.name = "w",
                        .type = TensorType::kAwq4,
                        .shape = {40, 192},
                        .data = std::as_bytes(std::span(packed.qweight)),
                        .awq = {.group_cols = 64,
                                .zeros = std::as_bytes(std::span(packed.qzeros)),
                                .scales = std::as_bytes(std::span(packed.scales))}};
  const AwqRows rows = UnpackAwqRows(view, 0, 40);
  EXPECT_EQ(rows.codes, codes.codes);
  EXPECT_EQ(rows.zeros, codes.zeros);
  EXPECT_EQ(rows.scales, codes.scales);
  const AwqRows some = UnpackAwqRows(view, 16, 5);
  EXPECT_TRUE(std::equal(some.codes.begin(), some.codes.end(), codes.codes.begin() + 16 * 192));
}

}  // namespace
}  // namespace kvpareto::tune
