#include <algorithm>
#include <filesystem>
#include <iostream>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "absl/flags/flag.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"
#include "autotuner/sha256.h"

ABSL_FLAG(int, tokens, 16384, "calibrate: tokens of the text to run");

namespace kvpareto::tune {
namespace {

// Smallest and largest element per head of rows [rows, heads, head_dim], widened in place.
void Widen(std::span<const float> rows, int heads, int head_dim, std::span<float> ranges) {
  for (size_t i = 0; i < rows.size(); ++i) {
    float* range = &ranges[2 * (i / head_dim % heads)];
    range[0] = std::min(range[0], rows[i]);
    range[1] = std::max(range[1], rows[i]);
  }
}

absl::StatusOr<Calibration> MeasureRanges(Engine& engine, std::span<const int32_t> tokens) {
  const ModelConfig& model = engine.model().config;
  Calibration calibration{.fingerprint = engine.model().fingerprint, .text = {}, .tensors = {}};
  Calibration::Tensor ranges{.shape = {model.layers, model.kv_heads, 2}, .values = {}};
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (int i = 0; i < model.layers * model.kv_heads; ++i) {
    ranges.values.insert(ranges.values.end(), {kInfinity, -kInfinity});
  }
  auto& k = calibration.tensors["k_range.plain"] = ranges;
  auto& v = calibration.tensors["v_range.plain"] = ranges;
  const size_t piece = model.context_tokens;
  for (size_t begin = 0; begin < tokens.size(); begin += piece) {
    const auto part = tokens.subspan(begin, std::min(piece, tokens.size() - begin));
    KVP_RETURN_IF_ERROR(engine.Observe(part, [&](const LayerObservation& seen) {
      const size_t offset = size_t(2) * seen.layer * model.kv_heads;
      const size_t size = size_t(2) * model.kv_heads;
      Widen(seen.k, model.kv_heads, model.head_dim, {k.values.data() + offset, size});
      Widen(seen.v, model.kv_heads, model.head_dim, {v.values.data() + offset, size});
    }));
  }
  return calibration;
}

}  // namespace

absl::Status RunCalibrate(const std::string& /*command*/) {
  const std::string text_path = absl::GetFlag(FLAGS_text);
  const std::string out_path = absl::GetFlag(FLAGS_out);
  const int limit = absl::GetFlag(FLAGS_tokens);
  if (out_path.empty()) return absl::InvalidArgumentError("--out is missing");
  if (limit < 1) return absl::InvalidArgumentError("--tokens must be positive");
  KVP_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(text_path));

  EngineOptions options;
  options.model_path = absl::GetFlag(FLAGS_model);
  options.threads = absl::GetFlag(FLAGS_threads);
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));
  KVP_ASSIGN_OR_RETURN(std::vector<int32_t> tokens, engine->Tokenize(text));
  tokens.resize(std::min<size_t>(tokens.size(), limit));
  KVP_ASSIGN_OR_RETURN(Calibration calibration, MeasureRanges(*engine, tokens));
  calibration.text = std::filesystem::path(text_path).filename().string() + " (sha256 " +
                     Sha256Hex(text) + "), first " + std::to_string(tokens.size()) + " tokens";
  KVP_RETURN_IF_ERROR(SaveCalibration(calibration, out_path));
  std::cerr << "ranges of " << tokens.size() << " tokens written to " << out_path << "\n";
  return absl::OkStatus();
}

}  // namespace kvpareto::tune
