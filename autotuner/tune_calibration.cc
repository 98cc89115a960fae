#include "autotuner/tune_calibration.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <vector>

#include "autotuner/calibrate.h"
#include "autotuner/text_file.h"

namespace kvpareto::tune {
namespace {

constexpr int64_t kLongestPiece = 8192;

}  // namespace

absl::StatusOr<std::vector<NamedText>> CalibrationTexts(const TuneSpec& spec) {
  std::vector<NamedText> texts;
  for (const std::string& path : spec.calibration.files) {
    KVP_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path));
    texts.push_back({std::filesystem::path(path).filename().string(), std::move(text)});
  }
  return texts;
}

absl::StatusOr<std::string> CalibrationFor(const TuneSpec& spec, const ModelSpec& model,
                                           const WeightsSpec& weights, bool only_look) {
  if (!model.calibration.empty() || spec.calibration.files.empty()) return model.calibration;
  KVP_ASSIGN_OR_RETURN(const std::vector<NamedConfig> configs, ConfigsOf(spec));
  const auto needs_one = [](const NamedConfig& named) { return named.config.needs_calibration(); };
  if (std::none_of(configs.begin(), configs.end(), needs_one)) return std::string();
  const std::string path = spec.out + "/" + model.name + "." +
                           std::string(WeightsKindName(weights.kind)) + ".calibration.safetensors";
  EngineOptions options;
  options.model_path = weights.path;
  options.threads = spec.threads;
  options.device = spec.device;
  options.kv_capacity_bytes = spec.kv_capacity_bytes;
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));
  const ModelInfo& info = engine->model();
  if (LoadCalibration(path, info.config, info.fingerprint).ok()) return path;
  if (only_look) return std::string();
  std::fprintf(stderr, "calibrating %s\n", model.name.c_str());
  KVP_ASSIGN_OR_RETURN(const std::vector<NamedText> texts, CalibrationTexts(spec));
  const int64_t piece = std::min<int64_t>(kLongestPiece, info.config.context_tokens);
  KVP_ASSIGN_OR_RETURN(const TextPieces pieces,
                       CutPieces(*engine, texts, spec.calibration.tokens, piece));
  CalibrateOptions calibrate;
  calibrate.threads = spec.threads;
  KVP_ASSIGN_OR_RETURN(const CalibrationResult result, Calibrate(*engine, pieces, calibrate));
  // A rename at the end: an interrupted run leaves no half-written file.
  const std::string part = path + ".part";
  KVP_RETURN_IF_ERROR(SaveCalibration(result.calibration, part));
  std::error_code error;
  std::filesystem::rename(part, path, error);
  if (!error) return path;
  return MakeError(absl::StatusCode::kInternal, "FILE_NOT_WRITABLE", "cannot write " + path,
                   {{"path", path}});
}

}  // namespace kvpareto::tune
