// Both passes of a calibration against direct computation in double.
#include "autotuner/calibration_statistics.h"

#include <algorithm>

#include "autotuner/calibration_ranges.h"
#include "autotuner/calibration_tiles.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/autotuner/synthetic_layers.h"

namespace kvpareto::tune {
namespace {

constexpr int kRows = 333;
constexpr int kDim = 32;

// Rows `from`.. of one head among rows [rows, heads, kDim].
Eigen::MatrixXd Head(const std::vector<float>& rows, int heads, int head, int from) {
  const int count = static_cast<int>(rows.size()) / (heads * kDim);
  Eigen::MatrixXd result(count - from, kDim);
  for (int r = from; r < count; ++r) {
    for (int c = 0; c < kDim; ++c) result(r - from, c) = rows[(r * heads + head) * kDim + c];
  }
  return result;
}

Eigen::MatrixXd Covariance(const Eigen::MatrixXd& rows) {
  const Eigen::MatrixXd centred = rows.rowwise() - rows.colwise().mean();
  return centred.transpose() * centred / static_cast<double>(rows.rows());
}

class StatisticsTest : public testing::TestWithParam<int> {};

TEST_P(StatisticsTest, MomentsAreThoseOfTheRows) {
  const ModelConfig model = SyntheticModel();
  const std::vector<float> bias = RandomFloats(2 * kDim, 0.0f, 50.0f, 9);
  const SyntheticLayer layer(model, kRows, bias);
  CalibrationStatistics statistics(model, {bias});
  layer.Show(GetParam(), [&](const LayerObservation& seen) { statistics.Add(seen); });
  const int skipped = static_cast<int>(kSkippedTokens);
  for (int h = 0; h < 2; ++h) {
    const HeadStatistics& head = statistics.head(0, h);
    const Eigen::MatrixXd keys = Head(layer.k, 2, h, skipped);
    EXPECT_EQ(head.keys.count(), kRows - skipped);
    EXPECT_LT((head.keys.Mean() - keys.colwise().mean().transpose()).norm(), 1e-10);
    EXPECT_LT((head.keys.Covariance() - Covariance(keys)).norm(), 1e-8);
    // The removal gives the keys back: floats of about 100 were added and subtracted, 2^-24 of
    // them each time, with angles to 2^-24.
    const Eigen::MatrixXd unbiased = Head(layer.unbiased, 2, h, skipped);
    EXPECT_LT(
        (head.unbiased_keys.Mean() - unbiased.colwise().mean().transpose()).cwiseAbs().maxCoeff(),
        2e-5);
    EXPECT_LT((head.unbiased_keys.Covariance() - Covariance(unbiased)).cwiseAbs().maxCoeff(), 1e-4);
    const Eigen::MatrixXd values = Head(layer.v, 2, h, skipped);
    EXPECT_LT((head.values.Covariance() - Covariance(values)).norm(), 1e-10);
    Eigen::MatrixXd squares = Eigen::MatrixXd::Zero(kDim, kDim);
    for (int g : {2 * h, 2 * h + 1}) {
      const Eigen::MatrixXd queries = Head(layer.q, 4, g, skipped);
      squares += queries.transpose() * queries;
    }
    EXPECT_LT((head.query_squares - squares).norm(), 1e-5 * squares.norm());
  }
}

TEST_P(StatisticsTest, RangesAreThoseOfTheTransformedRows) {
  const ModelConfig model = SyntheticModel();
  const std::vector<float> bias = RandomFloats(2 * kDim, 0.0f, 5.0f, 9);
  const SyntheticLayer layer(model, kRows, bias);
  CalibrationFit fit{.flagged = {true}};
  for (int h = 0; h < 2; ++h) {
    HeadFit head;
    head.key_bias = Eigen::Map<const Eigen::VectorXf>(bias.data() + h * kDim, kDim);
    uint64_t seed = 20 + 3 * h;
    for (auto* mean : {&head.key_mean, &head.key_mean_unbiased, &head.value_mean}) {
      const auto values = RandomFloats(kDim, 0.0f, 1.0f, seed++);
      *mean = Eigen::Map<const Eigen::VectorXf>(values.data(), kDim);
    }
    for (auto* rotations : {&head.key_rotation, &head.value_rotation}) {
      for (int r = 1; r < 4; ++r) {
        const auto values = RandomFloats(kDim * kDim, 0.0f, 1.0f, 10 * h + r);
        (*rotations)[r] = Eigen::Map<const Eigen::MatrixXf>(values.data(), kDim, kDim);
      }
    }
    fit.heads.push_back(head);
  }
  CalibrationRanges ranges(model, fit);
  layer.Show(GetParam(), [&](const LayerObservation& seen) { ranges.Add(seen); });
  const auto check = [&](const Calibration::Tensor& range, const std::vector<float>& rows,
                         const AffineMap& map, int h, const std::string& name) {
    Eigen::MatrixXd x = Head(rows, 2, h, 0).rowwise() - map.offset.cast<double>().transpose();
    if (map.matrix != nullptr) x = x * map.matrix->cast<double>().transpose();
    // Sums of 32 floats of about 10 x 3.
    EXPECT_NEAR(range.values[2 * h], x.minCoeff(), 1e-3) << name;
    EXPECT_NEAR(range.values[2 * h + 1], x.maxCoeff(), 1e-3) << name;
  };
  for (int h = 0; h < 2; ++h) {
    for (const Basis& basis : KeyBases()) {
      check(ranges.KeyRange(basis), basis.unbiased ? layer.unbiased : layer.k,
            KeyMap(fit.heads[h], basis), h, "k " + basis.name);
    }
    for (const Basis& basis : ValueBases()) {
      check(ranges.ValueRange(basis), layer.v, ValueMap(fit.heads[h], basis), h, "v " + basis.name);
    }
  }
}

TEST_P(StatisticsTest, TilesAreWholeAndInPlace) {
  const ModelConfig model = SyntheticModel();
  const SyntheticLayer layer(model, kRows, {});
  const std::vector<int64_t> pieces = {79, kRows};  // the first holds no whole tile behind a sink
  TileSample sample(model, pieces, 3);
  layer.Show(GetParam(), [&](const LayerObservation& seen) { sample.Add(1, seen); });
  ASSERT_EQ(sample.size(), 3);
  for (int tile = 0; tile < 3; ++tile) {
    const int64_t first = sample.first_position(tile);
    EXPECT_EQ((first - KvConfig().sink_tokens) % kv::kBlockTokens, 0);
    for (int h = 0; h < 2; ++h) {
      const Eigen::MatrixXd k = Head(layer.k, 2, h, first).topRows(kv::kBlockTokens);
      const Eigen::MatrixXd v = Head(layer.v, 2, h, first).topRows(kv::kBlockTokens);
      EXPECT_EQ(sample.Keys(tile, 0, h).cast<double>(), k);
      EXPECT_EQ(sample.Values(tile, 0, h).cast<double>(), v);
    }
  }
  EXPECT_LT(sample.first_position(0), sample.first_position(1));
}

INSTANTIATE_TEST_SUITE_P(Steps, StatisticsTest, testing::Values(1, 3, 64, 100, kRows));

TEST(BasisTest, NamesAreThoseOfConfigs) {
  std::vector<std::string> names;
  for (const Basis& basis : KeyBases()) names.push_back(basis.name);
  EXPECT_EQ(names.size(), 16u);
  EXPECT_THAT(names, testing::IsSupersetOf({"plain", "center", "hadamard", "unbiased",
                                            "unbiased-center-balanced", "center-oscar"}));
  names.clear();
  for (const Basis& basis : ValueBases()) names.push_back(basis.name);
  EXPECT_THAT(names,
              testing::UnorderedElementsAre("plain", "hadamard", "oscar", "balanced", "center",
                                            "center-hadamard", "center-oscar", "center-balanced"));
}

}  // namespace
}  // namespace kvpareto::tune
