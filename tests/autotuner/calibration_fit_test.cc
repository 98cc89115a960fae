// The mathematics of a calibration on synthetic statistics.
#include "autotuner/calibration_fit.h"

#include <Eigen/Dense>

#include "gtest/gtest.h"
#include "tests/autotuner/synthetic_layers.h"

namespace kvpareto::tune {
namespace {

// A positive definite matrix whose eigenvalues span four decades.
Eigen::MatrixXd RandomMoment(int dim, uint64_t seed) {
  support::Random random(seed);
  Eigen::MatrixXd factor(dim, dim);
  for (double& x : factor.reshaped()) x = random.Gauss();
  for (int i = 0; i < dim; ++i) factor.row(i) *= std::pow(10.0, 2.0 * i / dim);
  return factor.transpose() * factor;
}

double OffDiagonal(Eigen::MatrixXd matrix) {
  matrix.diagonal().setZero();
  return matrix.norm();
}

class BalancedTest : public testing::TestWithParam<int> {};

TEST_P(BalancedTest, MakesBothMomentsTheSame) {
  const int dim = GetParam();
  const Eigen::MatrixXd c = Regularized(RandomMoment(dim, 1));
  Eigen::MatrixXd s = Regularized(RandomMoment(dim, 2));
  const Eigen::MatrixXd t = BalancedTransform(RandomMoment(dim, 1), RandomMoment(dim, 2));
  s *= c.trace() / s.trace();
  const Eigen::MatrixXd stored = t * c * t.transpose();
  const Eigen::MatrixXd inverse = t.inverse();
  const Eigen::MatrixXd read = inverse.transpose() * s * inverse;
  // Conditions are about 1e4 x dim / 1e-3 at most; doubles leave 1e-16 of that.
  EXPECT_LT((stored - read).norm(), 1e-7 * stored.norm());
  // Up to the Hadamard matrix both are diagonal.
  const SquareMatrix hadamard = BlockHadamard(dim);
  const Eigen::Map<const Eigen::MatrixXd> h(hadamard.values.data(), dim, dim);
  EXPECT_LT(OffDiagonal(h * stored * h), 1e-7 * stored.norm());
  EXPECT_LT((t * inverse - Eigen::MatrixXd::Identity(dim, dim)).norm(), 1e-7);
}

TEST_P(BalancedTest, OscarIsOrthonormalAndDiagonalizes) {
  const int dim = GetParam();
  const Eigen::MatrixXd moment = RandomMoment(dim, 3);
  const Eigen::MatrixXd t = OscarRotation(moment);
  const Eigen::MatrixXf stored = t.cast<float>();
  EXPECT_LT(
      (stored * stored.transpose() - Eigen::MatrixXf::Identity(dim, dim)).cwiseAbs().maxCoeff(),
      1e-5f);
  const SquareMatrix hadamard = BlockHadamard(dim);
  const Eigen::Map<const Eigen::MatrixXd> h(hadamard.values.data(), dim, dim);
  EXPECT_LT(OffDiagonal(h * t * moment * t.transpose() * h), 1e-9 * moment.norm());
}

INSTANTIATE_TEST_SUITE_P(HeadSizes, BalancedTest, testing::Values(32, 64, 80, 96, 128));

TEST(FitTest, MomentsWithoutVarianceGiveFiniteTransforms) {
  const Eigen::MatrixXd zero = Eigen::MatrixXd::Zero(32, 32);
  Eigen::MatrixXd one = zero;
  one(3, 3) = 7.0;
  for (const Eigen::MatrixXd& c : {zero, one}) {
    for (const Eigen::MatrixXd& s : {zero, one}) {
      const Eigen::MatrixXd t = BalancedTransform(c, s);
      EXPECT_TRUE(t.allFinite());
      EXPECT_TRUE(t.inverse().allFinite());
      EXPECT_TRUE(OscarRotation(s).allFinite());
    }
  }
}

// hidden 16.
std::vector<float> Projection() { return RandomFloats(size_t{16} * 4 * 32, 0.0f, 1.0f, 77); }

CalibrationFit FitSynthetic(float bias_sigma, double flag_ratio = kFlagRatio) {
  const ModelConfig model = SyntheticModel();
  const std::vector<float> bias = RandomFloats(2 * 32, 0.0f, bias_sigma, 5);
  CalibrationStatistics statistics(model, {bias});
  SyntheticLayer(model, 1000, bias).Show(128, [&](const LayerObservation& seen) {
    statistics.Add(seen);
  });
  const std::vector<float> projection = Projection();
  std::vector<Eigen::MatrixXd> grams;
  for (int h = 0; h < model.kv_heads; ++h) grams.push_back(OutputGram(projection, model, h));
  return FitCalibration(statistics, model, grams, flag_ratio);
}

TEST(FitTest, FlagsALayerWhoseBiasDominates) {
  const CalibrationFit large = FitSynthetic(5.0f);
  ASSERT_EQ(large.bias.size(), 1u);
  EXPECT_TRUE(large.flagged[0]);
  // Keys vary by 1 in each channel. The bias adds at most its mean square, 25 over 32 Gaussian
  // samples (four standard errors: 100%), and more than a third of it: half of the pairs turn by
  // more than one radian in 1000 tokens at base 10000.
  EXPECT_GT(large.bias[0].ratio, 1.0 + 25.0 / 3);
  EXPECT_LT(large.bias[0].ratio, 1.0 + 2 * 25.0);
  EXPECT_NE(large.heads[0].key_bias.norm(), 0.0f);
  // What is left are the keys, whose mean is 0.5: to four standard errors of 996 samples.
  for (float mean : large.heads[0].key_mean_unbiased)
    EXPECT_NEAR(mean, 0.5f, 4 / std::sqrt(996.0f));
}

TEST(FitTest, FlagsByTheRatioAskedFor) {
  const double ratio = FitSynthetic(5.0f).bias[0].ratio;
  EXPECT_TRUE(FitSynthetic(5.0f, 0.99 * ratio).flagged[0]);
  EXPECT_FALSE(FitSynthetic(5.0f, 1.01 * ratio).flagged[0]);
}

TEST(FitTest, LeavesALayerWhoseBiasIsSmall) {
  const CalibrationFit small = FitSynthetic(0.1f);
  ASSERT_EQ(small.bias.size(), 1u);
  EXPECT_FALSE(small.flagged[0]);
  EXPECT_LT(small.bias[0].ratio, 1.1);
  EXPECT_EQ(small.heads[0].key_bias.norm(), 0.0f);
  EXPECT_EQ(small.heads[0].key_mean, small.heads[0].key_mean_unbiased);
}

}  // namespace
}  // namespace kvpareto::tune
