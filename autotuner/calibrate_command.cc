#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <vector>

#include "absl/flags/flag.h"
#include "autotuner/calibrate.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"

ABSL_FLAG(int, tokens, 16384, "calibrate, perplexity: tokens of the texts to run, in all");
ABSL_FLAG(int, piece_tokens, 8192,
          "calibrate: longest run of consecutive tokens, at most the model's context length");
ABSL_FLAG(
    double, flag_ratio, kvpareto::tune::kFlagRatio,
    "calibrate: remove the key bias of layers where that divides the variance of keys by more "
    "than this; attention over such layers takes longer");
ABSL_FLAG(int, sampled_tiles, 4,
          "calibrate: tiles per layer and head that clip ratios are searched on");

namespace kvpareto::tune {
namespace {

void PrintBias(const std::vector<LayerBias>& bias, double flag_ratio) {
  if (bias.empty()) return;
  std::fprintf(stderr, "key bias, by layer (\"removed\": above a ratio of %.2f)\n", flag_ratio);
  std::fprintf(stderr, "layer  largest |b|  key variance with / without\n");
  for (const LayerBias& layer : bias) {
    std::fprintf(stderr, "%5d  %11.2f  %8.2f  %s\n", layer.layer, layer.largest, layer.ratio,
                 layer.flagged ? "removed" : "");
  }
}

}  // namespace

absl::Status RunCalibrate(const std::string& /*command*/) {
  const std::string out_path = absl::GetFlag(FLAGS_out);
  const int limit = absl::GetFlag(FLAGS_tokens);
  const int piece_tokens = absl::GetFlag(FLAGS_piece_tokens);
  if (out_path.empty()) return absl::InvalidArgumentError("--out is missing");
  const auto folder = std::filesystem::path(out_path).parent_path();
  if (std::error_code ignored; !folder.empty() && !std::filesystem::is_directory(folder, ignored)) {
    return absl::InvalidArgumentError("--out: no folder " + folder.string());
  }
  if (limit < kMinCalibrationTokens || piece_tokens < kMinCalibrationTokens) {
    return absl::InvalidArgumentError("--tokens and --piece_tokens must be at least " +
                                      std::to_string(kMinCalibrationTokens));
  }
  const int capacity_mib = absl::GetFlag(FLAGS_kv_capacity_mib);
  if (capacity_mib < 1) return absl::InvalidArgumentError("--kv_capacity_mib must be positive");
  CalibrateOptions calibrate;
  calibrate.sampled_tiles = absl::GetFlag(FLAGS_sampled_tiles);
  calibrate.flag_ratio = absl::GetFlag(FLAGS_flag_ratio);
  calibrate.threads = absl::GetFlag(FLAGS_threads);
  KVP_RETURN_IF_ERROR(calibrate.Validate());
  KVP_ASSIGN_OR_RETURN(const std::vector<NamedText> texts, TextsFlag());

  EngineOptions options;
  options.model_path = absl::GetFlag(FLAGS_model);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.kv_capacity_bytes = uint64_t(capacity_mib) << 20;
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));
  const int64_t piece = std::min(piece_tokens, engine->model().config.context_tokens);
  KVP_ASSIGN_OR_RETURN(const TextPieces pieces, CutPieces(*engine, texts, limit, piece));
  if (pieces.tokens < limit) {
    std::cerr << "the texts have " << pieces.tokens << " tokens: all of them are used\n";
  }
  KVP_ASSIGN_OR_RETURN(const CalibrationResult result, Calibrate(*engine, pieces, calibrate));
  PrintBias(result.bias, calibrate.flag_ratio);
  KVP_RETURN_IF_ERROR(SaveCalibration(result.calibration, out_path));
  std::cerr << result.calibration.tensors.size() << " tensors from " << pieces.tokens
            << " tokens written to " << out_path << "\n";
  return absl::OkStatus();
}

}  // namespace kvpareto::tune
