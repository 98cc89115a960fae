#include "engine/cpu/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/cpu/available_isas.h"
#include "tests/cpu/random_weight.h"

namespace kvpareto::cpu {
namespace {

constexpr double kRounding = 0x1p-24;  // half a unit in the last place of a float

class ElementwiseTest : public testing::TestWithParam<Isa> {
 protected:
  const ElementwiseKernels& kernels() const { return ElementwiseFor(GetParam()); }
};

TEST_P(ElementwiseTest, RmsNorm) {
  for (const int cols : {1, 15, 16, 64, 80, 576, 1537}) {
    const std::vector<float> x = RandomFloats(cols, 1), weight = RandomFloats(cols, 2);
    std::vector<float> y(cols + 1, 7.0f);
    kernels().rms_norm(x.data(), weight.data(), cols, 1e-5f, y.data());
    double sum = 0.0;
    for (const float v : x) sum += double{v} * v;
    const double scale = 1.0 / std::sqrt(sum / cols + double{1e-5f});
    for (int c = 0; c < cols; ++c) {
      const double expected = x[c] * scale * weight[c];
      // Sum, root, division and two products: each within a few roundings.
      ASSERT_NEAR(y[c], expected, 16 * kRounding * std::abs(expected)) << cols << ", " << c;
    }
    EXPECT_EQ(y[cols], 7.0f) << "written past the end";
    std::vector<float> in_place = x;
    kernels().rms_norm(in_place.data(), weight.data(), cols, 1e-5f, in_place.data());
    EXPECT_TRUE(std::equal(in_place.begin(), in_place.end(), y.begin()));
  }
}

TEST_P(ElementwiseTest, RopeAngles) {
  for (const int pairs : {16, 32, 40, 64, 128}) {
    std::vector<float> inverse_frequency(pairs);
    for (int i = 0; i < pairs; ++i) inverse_frequency[i] = std::pow(1e4, -double(i) / pairs);
    for (const int position : {0, 1, 2, 63, 1000, 8191, 131072, 1000003}) {
      std::vector<float> cosine(pairs), sine(pairs);
      kernels().rope_angles(position, inverse_frequency.data(), pairs, cosine.data(), sine.data());
      for (int i = 0; i < pairs; ++i) {
        // The angle itself is a float: the definition, as in other implementations.
        const double angle = static_cast<float>(position) * inverse_frequency[i];
        ASSERT_NEAR(cosine[i], std::cos(angle), 4 * kRounding) << position << ", " << i;
        ASSERT_NEAR(sine[i], std::sin(angle), 4 * kRounding) << position << ", " << i;
      }
    }
  }
}

TEST_P(ElementwiseTest, Rope) {
  for (const int pairs : {32, 40, 64}) {
    const std::vector<float> cosine = RandomFloats(pairs, 3), sine = RandomFloats(pairs, 4);
    const std::vector<float> x = RandomFloats(2 * pairs, 5);
    std::vector<float> y = x;
    kernels().rope(cosine.data(), sine.data(), pairs, y.data());
    for (int i = 0; i < pairs; ++i) {
      const double a = x[i], b = x[i + pairs], c = cosine[i], s = sine[i];
      const double scale = (std::abs(a) + std::abs(b)) * (std::abs(c) + std::abs(s));
      ASSERT_NEAR(y[i], a * c - b * s, 2 * kRounding * scale);
      ASSERT_NEAR(y[i + pairs], b * c + a * s, 2 * kRounding * scale);
    }
  }
}

TEST_P(ElementwiseTest, SiluMul) {
  std::vector<float> gate;
  for (float g = -100.0f; g <= 100.0f; g += 0.037f) gate.push_back(g);
  gate.insert(gate.end(), {0.0f, -0.0f, 1e-30f, -1e-30f, 1e30f, -1e30f});
  const int cols = static_cast<int>(gate.size());
  const std::vector<float> up = RandomFloats(cols, 6);
  std::vector<float> y(cols);
  kernels().silu_mul(gate.data(), up.data(), cols, y.data());
  for (int c = 0; c < cols; ++c) {
    const double expected = gate[c] / (1.0 + std::exp(-double{gate[c]})) * up[c];
    // 1e-6 relative; below 1e-30 exp(-gate) may have reached infinity.
    ASSERT_NEAR(y[c], expected, 1e-6 * std::abs(expected) + 1e-30) << gate[c];
  }
}

INSTANTIATE_TEST_SUITE_P(All, ElementwiseTest, testing::ValuesIn(AvailableIsas()),
                         [](const auto& i) { return Name(i.param); });

}  // namespace
}  // namespace kvpareto::cpu
