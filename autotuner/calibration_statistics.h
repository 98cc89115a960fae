// First pass of a calibration: moments of what the attention of every layer sees.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <span>
#include <vector>

#include "autotuner/roped_bias.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// The first tokens of a sequence are unlike all others (attention sinks: keys and values far from
// the rest) and stay bf16 in the sink: moments leave them out.
inline constexpr int64_t kSkippedTokens = 4;

// Sums over vectors of one size, in double.
class VectorMoments {
 public:
  explicit VectorMoments(int dim);
  void Add(const Eigen::MatrixXd& rows);  // [rows, dim]

  int64_t count() const { return count_; }
  Eigen::VectorXd Mean() const;        // 0 when nothing was added
  Eigen::MatrixXd Covariance() const;  // about the mean

 private:
  int64_t count_ = 0;
  Eigen::VectorXd sum_;
  Eigen::MatrixXd squares_;  // lower half of the sum of x x^T
};

// Of one KV head of one layer, after RoPE.
struct HeadStatistics {
  explicit HeadStatistics(int dim)
      : keys(dim),
        unbiased_keys(dim),
        values(dim),
        query_squares(Eigen::MatrixXd::Zero(dim, dim)) {}

  VectorMoments keys;
  VectorMoments unbiased_keys;  // RoPE_p(k) - RoPE_p(b); empty where the layer has no bias
  VectorMoments values;
  Eigen::MatrixXd query_squares;  // sum of q q^T over the query heads that read this KV head
};

class CalibrationStatistics {
 public:
  // key_bias: per layer [kv_heads * head_dim] or empty.
  CalibrationStatistics(const ModelConfig& model, std::vector<std::vector<float>> key_bias);

  void Add(const LayerObservation& seen);

  const HeadStatistics& head(int layer, int kv_head) const {
    return heads_[layer * model_.kv_heads + kv_head];
  }
  const std::vector<float>& key_bias(int layer) const { return key_bias_[layer]; }

 private:
  const ModelConfig& model_;
  const std::vector<std::vector<float>> key_bias_;
  RopedBias rope_;
  std::vector<HeadStatistics> heads_;  // [layers, kv_heads]
};

}  // namespace kvpareto::tune
