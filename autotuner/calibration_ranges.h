// Second pass of a calibration: smallest and largest elements after every transform chain.
#pragma once

#include <array>
#include <vector>

#include "autotuner/calibration_basis.h"
#include "autotuner/roped_bias.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// Per channel.
struct ChannelRange {
  void Add(const RowMatrix& rows);
  Eigen::VectorXf min, max;  // empty before the first rows
};

class CalibrationRanges {
 public:
  // The references must outlive this.
  CalibrationRanges(const ModelConfig& model, const CalibrationFit& fit);

  // Every position counts, the first ones too: a config without a sink encodes them.
  void Add(const LayerObservation& seen);

  // [layers, kv_heads, 2]; exact over all that was added but for float rounding. Centring comes
  // before the matrix, so it shifts each channel by a constant: one pass serves both.
  Calibration::Tensor KeyRange(const Basis& basis) const;
  Calibration::Tensor ValueRange(const Basis& basis) const;

 private:
  // By kv::Rotation.
  struct HeadRanges {
    std::array<ChannelRange, 4> keys, unbiased_keys, values;
  };
  const ModelConfig& model_;
  const CalibrationFit& fit_;
  RopedBias rope_;
  std::vector<HeadRanges> heads_;  // [layers, kv_heads]
};

}  // namespace kvpareto::tune
