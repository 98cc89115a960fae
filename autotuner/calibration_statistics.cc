#include "autotuner/calibration_statistics.h"

#include <algorithm>
#include <utility>

namespace kvpareto::tune {
namespace {

// Adds rows^T rows to the lower half of `squares`.
template <typename Rows, typename Squares>
void AddSquares(const Rows& rows, Squares& squares) {
  squares.template selfadjointView<Eigen::Lower>().rankUpdate(rows.transpose());
}

}  // namespace

VectorMoments::VectorMoments(int dim)
    : sum_(Eigen::VectorXd::Zero(dim)), squares_(Eigen::MatrixXd::Zero(dim, dim)) {}

void VectorMoments::Add(const Eigen::MatrixXd& rows) {
  count_ += rows.rows();
  sum_ += rows.colwise().sum().transpose();
  AddSquares(rows, squares_);
}

Eigen::VectorXd VectorMoments::Mean() const {
  return sum_ / static_cast<double>(std::max<int64_t>(1, count_));
}

Eigen::MatrixXd VectorMoments::Covariance() const {
  const Eigen::MatrixXd whole = squares_.selfadjointView<Eigen::Lower>();
  const Eigen::VectorXd mean = Mean();
  return whole / static_cast<double>(std::max<int64_t>(1, count_)) - mean * mean.transpose();
}

CalibrationStatistics::CalibrationStatistics(const ModelConfig& model,
                                             std::vector<std::vector<float>> key_bias)
    : model_(model),
      key_bias_(std::move(key_bias)),
      rope_(model.inverse_frequency),
      heads_(static_cast<size_t>(model.layers) * model.kv_heads, HeadStatistics(model.head_dim)) {}

void CalibrationStatistics::Add(const LayerObservation& seen) {
  const int skipped =
      static_cast<int>(std::clamp<int64_t>(kSkippedTokens - seen.first_position, 0, seen.rows));
  const int rows = seen.rows - skipped;
  const int dim = model_.head_dim;
  const int group = model_.heads / model_.kv_heads;
  rope_.SetPositions(seen.first_position, seen.rows);
  for (int h = 0; h < model_.kv_heads; ++h) {
    HeadStatistics& head = heads_[seen.layer * model_.kv_heads + h];
    RowMatrix keys = HeadRows(seen.k, model_.kv_heads, dim, h);
    head.keys.Add(keys.bottomRows(rows).cast<double>());
    if (!key_bias_[seen.layer].empty()) {
      rope_.Subtract({key_bias_[seen.layer].data() + h * dim, static_cast<size_t>(dim)}, keys);
      head.unbiased_keys.Add(keys.bottomRows(rows).cast<double>());
    }
    head.values.Add(
        HeadRows(seen.v, model_.kv_heads, dim, h).bottomRows(rows).cast<double>().eval());
    // Nothing is subtracted from this sum later: float will do within a step.
    Eigen::MatrixXf squares = Eigen::MatrixXf::Zero(dim, dim);
    for (int g = h * group; g < (h + 1) * group; ++g) {
      const RowMatrix queries = HeadRows(seen.q, model_.heads, dim, g).bottomRows(rows);
      AddSquares(queries, squares);
    }
    const Eigen::MatrixXf whole = squares.selfadjointView<Eigen::Lower>();
    head.query_squares += whole.cast<double>();
  }
}

}  // namespace kvpareto::tune
