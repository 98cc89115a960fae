#include "autotuner/calibrate.h"

#include <algorithm>
#include <functional>
#include <thread>

#include "autotuner/calibration_clips.h"
#include "autotuner/calibration_ranges.h"
#include "autotuner/progress.h"

namespace kvpareto::tune {
namespace {

using PieceObserver = std::function<void(int piece, const LayerObservation&)>;

// One pass over all pieces.
absl::Status ObservePieces(Engine& engine, const TextPieces& text, const std::string& what,
                           Progress& progress, const PieceObserver& observe) {
  const int last_layer = engine.model().config.layers - 1;
  for (size_t i = 0; i < text.pieces.size(); ++i) {
    const int piece = static_cast<int>(i);
    KVP_RETURN_IF_ERROR(engine.Observe(text.pieces[i], [&](const LayerObservation& seen) {
      observe(piece, seen);
      if (seen.layer == last_layer) progress.Advance(seen.rows, what);
    }));
  }
  return absl::OkStatus();
}

void Append(const Eigen::VectorXf& vector, Calibration::Tensor& tensor) {
  tensor.values.insert(tensor.values.end(), vector.begin(), vector.end());
}

void AppendRows(const Eigen::MatrixXf& matrix, Calibration::Tensor& tensor) {
  for (Eigen::Index row = 0; row < matrix.rows(); ++row) Append(matrix.row(row), tensor);
}

void StoreFit(const CalibrationFit& fit, const ModelConfig& model, Calibration& calibration) {
  const int64_t l = model.layers, h = model.kv_heads, d = model.head_dim;
  const auto vectors = [&](const char* name, Eigen::VectorXf HeadFit::*member) {
    Calibration::Tensor& tensor = calibration.tensors[name];
    tensor.shape = {l, h, d};
    for (const HeadFit& head : fit.heads) Append(head.*member, tensor);
  };
  vectors("key_bias", &HeadFit::key_bias);
  vectors("key_mean", &HeadFit::key_mean);
  vectors("key_mean_unbiased", &HeadFit::key_mean_unbiased);
  vectors("value_mean", &HeadFit::value_mean);
  for (kv::Rotation rotation : {kv::Rotation::kOscar, kv::Rotation::kBalanced}) {
    const std::string name(kv::RotationName(rotation));
    Calibration::Tensor& keys = calibration.tensors["key_rotation." + name];
    Calibration::Tensor& values = calibration.tensors["value_rotation." + name];
    keys.shape = values.shape = {l, h, d, d};
    for (const HeadFit& head : fit.heads) {
      AppendRows(head.key_rotation[static_cast<size_t>(rotation)], keys);
      AppendRows(head.value_rotation[static_cast<size_t>(rotation)], values);
    }
  }
}

absl::StatusOr<CalibrationFit> FitPass(Engine& engine, const TextPieces& text, double flag_ratio,
                                       Progress& progress) {
  const ModelConfig& model = engine.model().config;
  std::vector<std::vector<float>> bias;
  std::vector<Eigen::MatrixXd> grams;
  KVP_RETURN_IF_ERROR(engine.VisitAttentionWeights([&](const AttentionWeights& weights) {
    bias.emplace_back(weights.key_bias.begin(), weights.key_bias.end());
    for (int head = 0; head < model.kv_heads; ++head) {
      grams.push_back(OutputGram(weights.output_projection, model, head));
    }
  }));
  CalibrationStatistics statistics(model, std::move(bias));
  KVP_RETURN_IF_ERROR(
      ObservePieces(engine, text, "moments", progress,
                    [&](int, const LayerObservation& seen) { statistics.Add(seen); }));
  return FitCalibration(statistics, model, grams, flag_ratio);
}

}  // namespace

absl::Status CalibrateOptions::Validate() const {
  if (sampled_tiles < 1) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TUNE_OPTION_INVALID",
                     "sampled_tiles must be at least 1", {{"option", "sampled_tiles"}});
  }
  if (!(flag_ratio >= 1.0)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TUNE_OPTION_INVALID",
                     "flag_ratio must be at least 1", {{"option", "flag_ratio"}});
  }
  return absl::OkStatus();
}

absl::StatusOr<CalibrationResult> Calibrate(Engine& engine, const TextPieces& text,
                                            const CalibrateOptions& options) {
  KVP_RETURN_IF_ERROR(options.Validate());
  const ModelConfig& model = engine.model().config;
  CalibrationResult result;
  Calibration& calibration = result.calibration;
  calibration.fingerprint = engine.model().fingerprint;
  calibration.text = text.description;

  Progress passes("tokens", 2 * text.tokens);
  KVP_ASSIGN_OR_RETURN(const CalibrationFit fit, FitPass(engine, text, options.flag_ratio, passes));
  result.bias = fit.bias;
  StoreFit(fit, model, calibration);

  CalibrationRanges ranges(model, fit);
  std::vector<int64_t> lengths;
  for (const auto& piece : text.pieces) lengths.push_back(piece.size());
  TileSample sample(model, lengths, options.sampled_tiles);
  KVP_RETURN_IF_ERROR(
      ObservePieces(engine, text, "ranges", passes, [&](int piece, const LayerObservation& seen) {
        ranges.Add(seen);
        sample.Add(piece, seen);
      }));
  for (const Basis& basis : KeyBases()) {
    calibration.tensors["k_range." + basis.name] = ranges.KeyRange(basis);
  }
  for (const Basis& basis : ValueBases()) {
    calibration.tensors["v_range." + basis.name] = ranges.ValueRange(basis);
  }

  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  Progress search("heads", static_cast<int64_t>(fit.heads.size()));
  calibration.tensors.merge(
      SearchClips(model, fit, sample, options.threads > 0 ? options.threads : cores, search));
  return result;
}

}  // namespace kvpareto::tune
