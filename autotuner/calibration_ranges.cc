#include "autotuner/calibration_ranges.h"

#include <algorithm>
#include <utility>

namespace kvpareto::tune {
namespace {

void AddRotated(const RowMatrix& rows, const std::array<Eigen::MatrixXf, 4>& rotations,
                std::array<ChannelRange, 4>& ranges) {
  ranges[0].Add(rows);
  for (size_t r = 1; r < rotations.size(); ++r) ranges[r].Add(rows * rotations[r].transpose());
}

// Of the channels, each shifted as the offset moves it.
std::pair<float, float> WholeRange(const ChannelRange& range, const AffineMap& map) {
  const Eigen::VectorXf shift =
      map.matrix == nullptr ? map.offset : Eigen::VectorXf(*map.matrix * map.offset);
  return {(range.min - shift).minCoeff(), (range.max - shift).maxCoeff()};
}

}  // namespace

void ChannelRange::Add(const RowMatrix& rows) {
  if (rows.rows() == 0) return;
  const Eigen::VectorXf low = rows.colwise().minCoeff();
  const Eigen::VectorXf high = rows.colwise().maxCoeff();
  min = min.size() == 0 ? low : Eigen::VectorXf(min.cwiseMin(low));
  max = max.size() == 0 ? high : Eigen::VectorXf(max.cwiseMax(high));
}

CalibrationRanges::CalibrationRanges(const ModelConfig& model, const CalibrationFit& fit)
    : model_(model),
      fit_(fit),
      rope_(model.inverse_frequency),
      heads_(static_cast<size_t>(model.layers) * model.kv_heads) {}

void CalibrationRanges::Add(const LayerObservation& seen) {
  const int dim = model_.head_dim;
  if (fit_.flagged[seen.layer]) rope_.SetPositions(seen.first_position, seen.rows);
  for (int h = 0; h < model_.kv_heads; ++h) {
    const size_t index = static_cast<size_t>(seen.layer) * model_.kv_heads + h;
    const HeadFit& fit = fit_.heads[index];
    HeadRanges& head = heads_[index];
    RowMatrix keys = HeadRows(seen.k, model_.kv_heads, dim, h);
    AddRotated(keys, fit.key_rotation, head.keys);
    if (fit_.flagged[seen.layer]) {
      rope_.Subtract({fit.key_bias.data(), static_cast<size_t>(dim)}, keys);
      AddRotated(keys, fit.key_rotation, head.unbiased_keys);
    }
    AddRotated(HeadRows(seen.v, model_.kv_heads, dim, h), fit.value_rotation, head.values);
  }
}

Calibration::Tensor CalibrationRanges::KeyRange(const Basis& basis) const {
  Calibration::Tensor tensor{.shape = {model_.layers, model_.kv_heads, 2}, .values = {}};
  for (size_t i = 0; i < heads_.size(); ++i) {
    const bool removed = basis.unbiased && fit_.flagged[i / model_.kv_heads];
    const auto& ranges = removed ? heads_[i].unbiased_keys : heads_[i].keys;
    const auto [low, high] =
        WholeRange(ranges[static_cast<size_t>(basis.rotation)], KeyMap(fit_.heads[i], basis));
    tensor.values.insert(tensor.values.end(), {low, high});
  }
  return tensor;
}

Calibration::Tensor CalibrationRanges::ValueRange(const Basis& basis) const {
  Calibration::Tensor tensor{.shape = {model_.layers, model_.kv_heads, 2}, .values = {}};
  for (size_t i = 0; i < heads_.size(); ++i) {
    const auto [low, high] = WholeRange(heads_[i].values[static_cast<size_t>(basis.rotation)],
                                        ValueMap(fit_.heads[i], basis));
    tensor.values.insert(tensor.values.end(), {low, high});
  }
  return tensor;
}

}  // namespace kvpareto::tune
