#include "autotuner/fidelity.h"

#include <cmath>
#include <numeric>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

std::vector<float> LogProbs(std::vector<float> probabilities) {
  for (float& p : probabilities) p = std::log(p);
  return probabilities;
}

TEST(LogSoftmaxTest, NormalizesLargeLogits) {
  std::vector<float> logits = {1000.0f, 1000.0f, 998.0f, -1000.0f};
  LogSoftmax(logits);
  const double z = 2.0 + std::exp(-2.0);
  EXPECT_NEAR(logits[0], -std::log(z), 1e-4);  // 1000 has a float step of 6e-5
  EXPECT_NEAR(logits[2], -2.0 - std::log(z), 1e-4);
  EXPECT_LT(logits[3], -1990.0f);
}

TEST(ComparePositionTest, KnownDivergence) {
  const std::vector<float> p = LogProbs({0.5f, 0.25f, 0.25f});
  const std::vector<float> q = LogProbs({0.25f, 0.5f, 0.25f});
  const PositionFidelity result = ComparePosition(p, q, 2);
  EXPECT_NEAR(result.kl, 0.5 * std::log(2.0) - 0.25 * std::log(2.0), 1e-6);
  EXPECT_FALSE(result.same_top);
  EXPECT_NEAR(result.reference_nll, std::log(4.0), 1e-6);
  EXPECT_NEAR(result.candidate_nll, std::log(4.0), 1e-6);
}

TEST(ComparePositionTest, TinyDivergenceIsNotLostInRounding) {
  // KL of a pair of probabilities moved by d is about d^2 / (2p) + d^2 / (2q).
  const double d = 1e-4;
  const std::vector<float> p = {static_cast<float>(std::log(0.5)),
                                static_cast<float>(std::log(0.5))};
  const std::vector<float> q = {static_cast<float>(std::log(0.5 + d)),
                                static_cast<float>(std::log(0.5 - d))};
  const PositionFidelity result = ComparePosition(p, q, 0);
  EXPECT_NEAR(result.kl, 2 * d * d, 0.05 * 2 * d * d);
}

TEST(ComparePositionTest, SameDistributionIsExact) {
  const std::vector<float> p = LogProbs({0.1f, 0.7f, 0.2f});
  const PositionFidelity result = ComparePosition(p, p, 0);
  EXPECT_EQ(result.kl, 0.0);
  EXPECT_TRUE(result.same_top);
}

// Random pairs of distributions, from nearly the same to unrelated, against double precision.
TEST(ComparePositionTest, AgreesWithDoublePrecision) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const int size : {3, 8, 21, 4096 + 5}) {
    for (const float noise : {1e-3f, 1e-2f, 0.1f, 1.0f, 10.0f}) {
      std::vector<float> p(size), q(size);
      for (int i = 0; i < size; ++i) {
        p[i] = 4.0f * normal(random);
        q[i] = p[i] + noise * normal(random);
      }
      LogSoftmax(p);
      LogSoftmax(q);
      double kl = 0.0, total = 0.0;
      for (int i = 0; i < size; ++i) {
        const double d = static_cast<double>(p[i]) - q[i];
        kl += std::exp(static_cast<double>(p[i])) * (d + std::expm1(-d));
        total += std::exp(static_cast<double>(p[i]));
      }
      // Logarithms of floats near 16 have steps of 1e-6, and every entry has such an error.
      EXPECT_NEAR(total, 1.0, 1e-5) << size << " " << noise;
      EXPECT_NEAR(ComparePosition(p, q, 0).kl, kl, 2e-5 * kl) << size << " " << noise;
    }
  }
}

TEST(ComparePositionTest, ImprobableEntriesDoNotOverflow) {
  const std::vector<float> p = {0.0f, -200.0f, -90.0f, -300.0f, -1e4f, -150.0f, -99.0f, -88.0f};
  std::vector<float> q = p;
  q[1] = -2.0f;
  q[0] = std::log1p(-std::exp(-2.0f));
  EXPECT_NEAR(ComparePosition(p, q, 1).kl, -q[0], 1e-6);
  EXPECT_NEAR(ComparePosition(q, p, 1).kl, std::exp(-2.0) * 198 + std::exp(q[0]) * q[0], 1e-4);
}

// Values of the closed form, computed with 30 digits.
TEST(WilsonLowTest, KnownValues) {
  EXPECT_NEAR(WilsonLow(8, 10), 0.4901625, 1e-6);
  EXPECT_NEAR(WilsonLow(100, 100), 0.9630065, 1e-6);
  EXPECT_EQ(WilsonLow(0, 50), 0.0);
  EXPECT_EQ(WilsonLow(0, 0), 0.0);
}

TEST(BlockBootstrapLowTest, ConstantSamplesHaveNoSpread) {
  const std::vector<double> ones(500, 1.0);
  EXPECT_EQ(BlockBootstrapLow(ones, 64), 1.0);
  EXPECT_EQ(BlockBootstrapLow({}, 64), 0.0);
}

TEST(BlockBootstrapLowTest, DependentSamplesHaveAWiderInterval) {
  // Half the samples are ones: alternating, or in long runs.
  std::vector<double> alternating(4096), runs(4096);
  for (size_t i = 0; i < alternating.size(); ++i) {
    alternating[i] = i % 2;
    runs[i] = i / 64 % 2;
  }
  EXPECT_EQ(BlockBootstrapLow(alternating, 64), 0.5);
  // 64 runs of standard deviation 1/2: the mean's is 1/16, 2.5% lie 1.96 / 16 below.
  EXPECT_NEAR(BlockBootstrapLow(runs, 64), 0.5 - 1.96 / 16, 0.02);
}

TEST(QuantileTest, IsAnOrderStatistic) {
  std::vector<double> samples(100);
  std::iota(samples.rbegin(), samples.rend(), 1.0);
  EXPECT_EQ(Quantile(samples, 0.99), 99.0);
  EXPECT_EQ(Quantile(samples, 0.5), 50.0);
  EXPECT_EQ(Quantile(samples, 1.0), 100.0);
  EXPECT_EQ(Quantile(samples, 0.001), 1.0);
  EXPECT_EQ(Quantile({7.0}, 0.5), 7.0);
  EXPECT_EQ(Quantile({}, 0.5), 0.0);
}

TEST(SummarizeTest, PutsTheNumbersWhereTheyBelong) {
  std::vector<PositionFidelity> positions(200);
  for (size_t i = 0; i < positions.size(); ++i) {
    positions[i] = {.kl = 0.01 * static_cast<double>(i),
                    .same_top = i % 10 != 0,
                    .reference_nll = 1.0,
                    .candidate_nll = 1.5};
  }
  const AccuracyBucket bucket = Summarize(2048, positions);
  EXPECT_EQ(bucket.max_context_tokens, 2048);
  EXPECT_EQ(bucket.samples, 200);
  EXPECT_DOUBLE_EQ(bucket.accuracy, 0.9);
  EXPECT_LE(bucket.accuracy_low, WilsonLow(180, 200));
  EXPECT_GT(bucket.accuracy_low, 0.8);
  EXPECT_NEAR(bucket.kl_mean, 0.01 * 99.5, 1e-9);
  EXPECT_NEAR(bucket.kl_p99, 1.97, 1e-9);
  EXPECT_NEAR(bucket.perplexity_ratio, std::exp(0.5), 1e-9);
}

TEST(SummarizeTest, APerfectSampleIsNotCertain) {
  const std::vector<PositionFidelity> positions(100, PositionFidelity{.same_top = true});
  const AccuracyBucket bucket = Summarize(64, positions);
  EXPECT_EQ(bucket.accuracy, 1.0);
  EXPECT_NEAR(bucket.accuracy_low, WilsonLow(100, 100), 1e-12);
}

}  // namespace
}  // namespace kvpareto::tune
