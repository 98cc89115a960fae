#include "autotuner/calibration_fit.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <utility>

namespace kvpareto::tune {
namespace {

// Symmetric matrix from its eigenvectors and a function of its eigenvalues; those below 1e-12 of
// the largest count as that: they are rounding.
template <typename F>
Eigen::MatrixXd Apply(const Eigen::MatrixXd& symmetric, F&& f) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(symmetric);
  const Eigen::MatrixXd& vectors = solver.eigenvectors();
  const double floor = 1e-12 * solver.eigenvalues().maxCoeff();
  const Eigen::VectorXd values = solver.eigenvalues().cwiseMax(floor).unaryExpr(f);
  return vectors * values.asDiagonal() * vectors.transpose();
}

Eigen::MatrixXd Root(const Eigen::MatrixXd& symmetric) {
  return Apply(symmetric, [](double x) { return std::sqrt(x); });
}

Eigen::MatrixXd Symmetric(const Eigen::MatrixXd& matrix) {
  return 0.5 * (matrix + matrix.transpose());
}

Eigen::MatrixXd Eigenvectors(const Eigen::MatrixXd& symmetric) {
  return Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(symmetric).eigenvectors();
}

Eigen::MatrixXd Hadamard(int dim) {
  const SquareMatrix matrix = BlockHadamard(dim);
  return Eigen::Map<const Eigen::MatrixXd>(matrix.values.data(), dim, dim);  // symmetric
}

std::array<Eigen::MatrixXf, 4> Rotations(const Eigen::MatrixXd& covariance,
                                         const Eigen::MatrixXd& reader_moment,
                                         const Eigen::MatrixXd& oscar_moment) {
  return {Eigen::MatrixXf(), Hadamard(static_cast<int>(covariance.rows())).cast<float>(),
          OscarRotation(oscar_moment).cast<float>(),
          BalancedTransform(covariance, reader_moment).cast<float>()};
}

LayerBias CompareBias(const CalibrationStatistics& statistics, const ModelConfig& model, int layer,
                      double flag_ratio) {
  LayerBias bias{.layer = layer};
  for (float b : statistics.key_bias(layer))
    bias.largest = std::max<double>(bias.largest, std::abs(b));
  for (int h = 0; h < model.kv_heads; ++h) {
    const HeadStatistics& head = statistics.head(layer, h);
    const double with = head.keys.Covariance().trace();
    const double without = head.unbiased_keys.Covariance().trace();
    if (with > 0.0) bias.ratio = std::max(bias.ratio, with / std::max(without, 1e-30));
  }
  bias.flagged = bias.ratio > flag_ratio;
  return bias;
}

HeadFit FitHead(const HeadStatistics& head, std::span<const float> bias, bool flagged,
                const Eigen::MatrixXd& output_gram) {
  const Eigen::Index dim = head.query_squares.rows();
  HeadFit fit;
  fit.key_bias = flagged ? Eigen::VectorXf(Eigen::Map<const Eigen::VectorXf>(bias.data(), dim))
                         : Eigen::VectorXf(Eigen::VectorXf::Zero(dim));
  const VectorMoments& keys = flagged ? head.unbiased_keys : head.keys;
  fit.key_mean = head.keys.Mean().cast<float>();
  fit.key_mean_unbiased = keys.Mean().cast<float>();
  fit.value_mean = head.values.Mean().cast<float>();
  fit.key_rotation = Rotations(keys.Covariance(), head.query_squares, head.query_squares);
  const Eigen::MatrixXd covariance = head.values.Covariance();
  fit.value_rotation = Rotations(covariance, output_gram, covariance);
  return fit;
}

}  // namespace

Eigen::MatrixXd Regularized(const Eigen::MatrixXd& moment) {
  const Eigen::Index dim = moment.rows();
  const double mean = moment.trace() / static_cast<double>(dim);
  if (!(mean > 0.0)) return Eigen::MatrixXd::Identity(dim, dim);
  return moment + kRegularization * mean * Eigen::MatrixXd::Identity(dim, dim);
}

Eigen::MatrixXd OutputGram(std::span<const float> output_projection, const ModelConfig& model,
                           int kv_head) {
  const int group = model.heads / model.kv_heads;
  Eigen::MatrixXd gram = Eigen::MatrixXd::Zero(model.head_dim, model.head_dim);
  for (int g = kv_head * group; g < (kv_head + 1) * group; ++g) {
    const RowMatrix part = HeadRows(output_projection, model.heads, model.head_dim, g);
    gram += (part.transpose() * part).cast<double>();
  }
  return gram;
}

Eigen::MatrixXd OscarRotation(const Eigen::MatrixXd& moment) {
  return Hadamard(static_cast<int>(moment.rows())) * Eigenvectors(Regularized(moment)).transpose();
}

Eigen::MatrixXd BalancedTransform(const Eigen::MatrixXd& covariance,
                                  const Eigen::MatrixXd& reader_moment) {
  const Eigen::MatrixXd c = Regularized(covariance);
  Eigen::MatrixXd s = Regularized(reader_moment);
  s *= c.trace() / s.trace();
  const Eigen::MatrixXd c_root = Root(c);
  const Eigen::MatrixXd c_inverse_root = Apply(c, [](double x) { return 1.0 / std::sqrt(x); });
  const Eigen::MatrixXd mean =
      Symmetric(c_inverse_root * Root(Symmetric(c_root * s * c_root)) * c_inverse_root);
  const Eigen::MatrixXd root = Root(mean);
  const Eigen::MatrixXd vectors = Eigenvectors(Symmetric(root * c * root));
  return Hadamard(static_cast<int>(c.rows())) * vectors.transpose() * root;
}

CalibrationFit FitCalibration(const CalibrationStatistics& statistics, const ModelConfig& model,
                              std::span<const Eigen::MatrixXd> output_grams, double flag_ratio) {
  CalibrationFit fit;
  for (int layer = 0; layer < model.layers; ++layer) {
    const std::vector<float>& bias = statistics.key_bias(layer);
    bool flagged = false;
    if (!bias.empty()) {
      fit.bias.push_back(CompareBias(statistics, model, layer, flag_ratio));
      flagged = fit.bias.back().flagged;
    }
    fit.flagged.push_back(flagged);
    for (int h = 0; h < model.kv_heads; ++h) {
      const std::span<const float> part =
          bias.empty()
              ? std::span<const float>()
              : std::span<const float>(bias).subspan(size_t(h) * model.head_dim, model.head_dim);
      fit.heads.push_back(FitHead(statistics.head(layer, h), part, flagged,
                                  output_grams[layer * model.kv_heads + h]));
    }
  }
  return fit;
}

}  // namespace kvpareto::tune
