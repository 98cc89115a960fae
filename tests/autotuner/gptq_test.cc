// Rounding with error compensation, on Hessians of known structure.
#include "autotuner/gptq.h"

#include <algorithm>
#include <cmath>

#include "autotuner/awq_module.h"
#include "autotuner/ldl.h"
#include "gtest/gtest.h"
#include "tests/autotuner/synthetic_layers.h"

namespace kvpareto::tune {
namespace {

// Tokens whose features are mixtures of few sources and a little noise of their own, as activations
// are.
Matrix CorrelatedTokens(int64_t tokens, int64_t cols, int64_t sources, uint64_t seed) {
  const Matrix mixture(cols, sources, RandomFloats(cols * sources, 0.0f, 1.0f, seed));
  const Matrix signal(tokens, sources, RandomFloats(tokens * sources, 0.0f, 1.0f, seed + 1));
  Matrix x = LinearOutput(PackedRows(signal.view()), mixture, 1);
  const std::vector<float> noise = RandomFloats(x.values.size(), 0.0f, 0.5f, seed + 2);
  for (size_t i = 0; i < noise.size(); ++i) x.values[i] += noise[i];
  return x;
}

Hessian HessianOf(const Matrix& x, const std::vector<float>& weights = {}, int threads = 2) {
  Hessian hessian(x.cols);
  hessian.Add(x.view(), weights, threads);
  return hessian;
}

GroupCodes Compensated(const Matrix& w, const Hessian& hessian, int group_size, int threads = 2) {
  GroupCodes codes = FitGroups(w, group_size);
  RoundWithFeedback(w, *ErrorFeedback::Create(hessian, threads), threads, codes);
  return codes;
}

// Mean over outputs of the square error of the output, relative to that of `other`.
double ErrorRatio(const Matrix& x, const Matrix& w, const GroupCodes& codes,
                  const GroupCodes& other) {
  const auto error = [&](const GroupCodes& of) {
    Matrix change = DecodeGroups(of);
    for (size_t i = 0; i < w.values.size(); ++i) change.values[i] -= w.values[i];
    double sum = 0.0;
    for (const float y : LinearOutput(PackedRows(x.view()), change, 1).values) sum += double{y} * y;
    return sum;
  };
  return error(codes) / error(other);
}

TEST(Hessian, IsTheWeightedSumOfProducts) {
  const Matrix x(37, 200, RandomFloats(37 * 200, 0.3f, 1.0f, 1));
  std::vector<float> weights = RandomFloats(37, 1.0f, 0.1f, 2);
  weights[5] = 0.0f;
  Hessian hessian(200);
  hessian.Add(x.view(), weights, 2);
  hessian.Add(x.view(), {}, 2);
  const std::vector<float> scales = RandomFloats(200, 2.0f, 0.1f, 3);
  hessian.DivideInputs(scales);
  for (int64_t r = 0; r < 200; ++r) {
    for (int64_t c = 0; c <= r; ++c) {
      double sum = 0.0;
      for (int64_t t = 0; t < 37; ++t) {
        sum += (1.0 + weights[t]) * x.row(t)[r] * x.row(t)[c] / (scales[r] * scales[c]);
      }
      ASSERT_NEAR(hessian.lower().row(r)[c], sum, 1e-4) << r << " " << c;
    }
    for (int64_t c = r + 1; c < 200; ++c) ASSERT_EQ(hessian.lower().row(r)[c], 0.0f);
  }
}

TEST(Ldl, TheFactorsMultiplyToTheMatrix) {
  for (const int64_t n : {1, 127, 128, 129, 300}) {
    const Matrix x = CorrelatedTokens(2 * n, n, 5, n);
    const Matrix h = HessianOf(x).lower();
    Matrix factor = h;
    ASSERT_TRUE(FactorLdl(1e-3f, 2, factor)) << n;
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t c = 0; c <= r; ++c) {
        double sum = 0.0;  // of L D L^T
        for (int64_t k = 0; k <= c; ++k) {
          const double left = k == r ? 1.0 : factor.row(r)[k];
          const double right = k == c ? 1.0 : factor.row(c)[k];
          sum += left * factor.row(k)[k] * right;
        }
        const double size = std::sqrt(double{h.row(r)[r]} * h.row(c)[c]);
        ASSERT_NEAR(sum, h.row(r)[c], 1e-5 * size) << n << ": " << r << " " << c;
      }
    }
  }
}

TEST(Ldl, RefusesWhatIsNotPositiveDefinite) {
  Matrix indefinite(2, 2, {1.0f, 0.0f, 2.0f, 1.0f});
  EXPECT_FALSE(FactorLdl(1e-3f, 1, indefinite));
  Matrix no_number(2, 2, {1.0f, 0.0f, std::nanf(""), 1.0f});
  EXPECT_FALSE(FactorLdl(1e-3f, 1, no_number));
  // The second block of columns depends on the first.
  Matrix late(130, 130);
  for (int64_t i = 0; i < 130; ++i) late.row(i)[i] = 1.0f;
  late.row(129)[0] = 1.0f;
  EXPECT_FALSE(FactorLdl(1e-3f, 1, late));
}

TEST(Gptq, CompensatesErrorsOfCorrelatedInputs) {
  // 352 inputs: two whole blocks of columns and a part; groups end within blocks.
  const Matrix x = CorrelatedTokens(1000, 352, 12, 1);
  const Matrix w(45, 352, RandomFloats(45 * 352, 0.0f, 1.0f, 7));
  const GroupCodes nearest = EncodeGroups(w, 32);
  const GroupCodes codes = Compensated(w, HessianOf(x), 32);
  EXPECT_EQ(codes.scales, nearest.scales);
  EXPECT_EQ(codes.zeros, nearest.zeros);
  EXPECT_LT(ErrorRatio(x, w, codes, nearest), 0.3);
}

// A few inputs that are much larger than the rest and depend on each other: rounded first, their
// errors are made good by all others, wherever they stand.
TEST(Gptq, ResultDoesNotDependOnWhereInputsStand) {
  constexpr int64_t kInputs = 256;
  Matrix x = CorrelatedTokens(600, kInputs, 12, 1);
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t c = 0; c < kInputs; ++c) x.row(t)[c] *= 1.0f + static_cast<float>(c * 37 % 101);
  }
  const Matrix w(8, kInputs, RandomFloats(8 * kInputs, 0.0f, 1.0f, 7));
  // One group, so that steps stay the same when inputs change places.
  const GroupCodes codes = Compensated(w, HessianOf(x), kInputs);
  Matrix reversed_x = x, reversed_w = w;
  for (int64_t t = 0; t < x.rows; ++t) std::reverse(reversed_x.row(t), reversed_x.row(t) + kInputs);
  for (int64_t o = 0; o < w.rows; ++o) std::reverse(reversed_w.row(o), reversed_w.row(o) + kInputs);
  const GroupCodes reversed = Compensated(reversed_w, HessianOf(reversed_x), kInputs);
  int different = 0;  // by rounding of sums in another order
  for (int64_t o = 0; o < w.rows; ++o) {
    for (int64_t c = 0; c < kInputs; ++c) {
      different += codes.codes[o * kInputs + c] != reversed.codes[o * kInputs + kInputs - 1 - c];
    }
  }
  EXPECT_LT(different, 0.02 * 8 * kInputs);
}

// On few tokens too, for which H is singular: damping decides the rest.
TEST(Gptq, CompensatesWithFewerTokensThanInputs) {
  const Matrix x = CorrelatedTokens(40, 256, 12, 1);
  const Matrix w(16, 256, RandomFloats(16 * 256, 0.0f, 1.0f, 7));
  EXPECT_LT(ErrorRatio(x, w, Compensated(w, HessianOf(x), 64), EncodeGroups(w, 64)), 0.1);
}

TEST(Gptq, IsRoundingToTheNearestWhereInputsAreIndependent) {
  const Matrix w(33, 160, RandomFloats(33 * 160, 0.0f, 1.0f, 3));
  Matrix x(160, 160);
  for (int64_t i = 0; i < 160; ++i) x.row(i)[i] = static_cast<float>(i + 1);
  EXPECT_EQ(Compensated(w, HessianOf(x), 32).codes, EncodeGroups(w, 32).codes);
  EXPECT_EQ(Compensated(w, Hessian(160), 32).codes, EncodeGroups(w, 32).codes);  // no tokens
}

TEST(Gptq, InputsThatAreAlwaysZeroNeitherGiveNorTake) {
  Matrix x = CorrelatedTokens(500, 128, 6, 4);
  for (int64_t t = 0; t < x.rows; ++t) x.row(t)[20] = x.row(t)[100] = 0.0f;
  Matrix w(8, 128, RandomFloats(8 * 128, 0.0f, 0.3f, 5));
  const GroupCodes codes = Compensated(w, HessianOf(x), 64), nearest = EncodeGroups(w, 64);
  for (int64_t r = 0; r < 8; ++r) {
    EXPECT_EQ(codes.codes[r * 128 + 20], nearest.codes[r * 128 + 20]);
    EXPECT_EQ(codes.codes[r * 128 + 100], nearest.codes[r * 128 + 100]);
  }
  for (int64_t r = 0; r < 8; ++r) w.row(r)[20] *= 0.9f;  // its group's range stays
  GroupCodes changed = codes;
  RoundWithFeedback(w, *ErrorFeedback::Create(HessianOf(x), 1), 1, changed);
  for (int64_t r = 0; r < 8; ++r) changed.codes[r * 128 + 20] = codes.codes[r * 128 + 20];
  EXPECT_EQ(changed.codes, codes.codes);
}

TEST(Gptq, RefusesWhatHasOverflown) {
  for (const float value : {1e25f, std::nanf("")}) {
    Matrix x = CorrelatedTokens(100, 160, 6, 4);
    x.row(3)[150] = value;
    const absl::Status status = ErrorFeedback::Create(HessianOf(x), 1).status();
    ASSERT_TRUE(GetErrorInfo(status).has_value()) << status;
    EXPECT_EQ(GetErrorInfo(status)->reason, "ACTIVATION_NOT_FINITE");
  }
}

TEST(Gptq, DoesNotDependOnThreads) {
  const Matrix x = CorrelatedTokens(300, 288, 9, 8);
  const Matrix w(100, 288, RandomFloats(100 * 288, 0.0f, 1.0f, 9));
  const Hessian one = HessianOf(x, {}, 1), three = HessianOf(x, {}, 3);
  EXPECT_EQ(one.lower().values, three.lower().values);
  EXPECT_EQ(Compensated(w, one, 32, 1).codes, Compensated(w, three, 32, 3).codes);
}

}  // namespace
}  // namespace kvpareto::tune
