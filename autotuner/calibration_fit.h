// What is fitted to the statistics of a first pass: which layers lose their key bias, means, and
// the matrices of kv/transform.h.
#pragma once

#include <Eigen/Core>
#include <array>
#include <span>
#include <vector>

#include "autotuner/calibration_statistics.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// Added to a second moment before it is inverted, as a share of its mean eigenvalue (as an
// identity matrix): directions that the text hardly uses must not get unbounded factors.
inline constexpr double kRegularization = 1e-3;

// A key bias b of a projection becomes RoPE_p(b) in the cache: a vector that turns with the
// position and that no static mean can follow. A layer is flagged when, in one of its KV heads, its
// removal takes more than a factor from the variance of the centred keys, their trace: what sets
// the step of a quantizer. By default the factor is this.
inline constexpr double kFlagRatio = 2.0;

struct LayerBias {
  int layer = 0;
  double largest = 0.0;  // |b| of the largest element
  double ratio = 1.0;    // variance of the keys with the bias / without, largest over the KV heads
  bool flagged = false;
};

// Of one KV head, as floats: what is written to the file, so that ranges and clips are measured
// with the very numbers that the engine will use.
struct HeadFit {
  Eigen::VectorXf key_bias;           // zero where the layer is not flagged
  Eigen::VectorXf key_mean;           // of the keys with their bias
  Eigen::VectorXf key_mean_unbiased;  // without; the same where the layer is not flagged
  Eigen::VectorXf value_mean;
  // By kv::Rotation; empty for kNone.
  std::array<Eigen::MatrixXf, 4> key_rotation, value_rotation;
};

struct CalibrationFit {
  std::vector<LayerBias> bias;  // of the layers that have one
  std::vector<bool> flagged;    // [layers]
  std::vector<HeadFit> heads;   // [layers, kv_heads]
};

// Sum over the query heads of a KV head of W' W, W [hidden, head_dim] their part of a layer's
// output projection [hidden, heads * head_dim]: |W e|^2 summed is what an error e of the head's
// values does to the layer's output.
Eigen::MatrixXd OutputGram(std::span<const float> output_projection, const ModelConfig& model,
                           int kv_head);

// output_grams: [layers, kv_heads], each an OutputGram.
CalibrationFit FitCalibration(const CalibrationStatistics& statistics, const ModelConfig& model,
                              std::span<const Eigen::MatrixXd> output_grams,
                              double flag_ratio = kFlagRatio);

// H E^T of the eigenvectors E of `moment`, H the block-diagonal Hadamard matrix: the rotation of
// OSCAR (arXiv 2605.17757). Keys use the second moment of their queries, values their covariance.
Eigen::MatrixXd OscarRotation(const Eigen::MatrixXd& moment);

// T with T C T' = T^-T S T^-1 for the regularized covariance C of what is stored and second moment
// S of what reads it (queries; for values the Gram matrix of the output projection), S scaled to
// the trace of C: the errors of storing then weigh as much as what they are read with in every
// direction. T = H U' G^1/2 with the geometric mean G = C^-1/2 (C^1/2 S C^1/2)^1/2 C^-1/2 and the
// eigenvectors U of G^1/2 C G^1/2. H spreads what is left.
Eigen::MatrixXd BalancedTransform(const Eigen::MatrixXd& covariance,
                                  const Eigen::MatrixXd& reader_moment);

// `moment` and kRegularization of its mean eigenvalue on the diagonal; the identity for zero.
Eigen::MatrixXd Regularized(const Eigen::MatrixXd& moment);

}  // namespace kvpareto::tune
