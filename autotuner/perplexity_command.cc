#include <cstdio>
#include <memory>

#include "absl/flags/flag.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"
#include "autotuner/paired.h"
#include "autotuner/perplexity.h"

ABSL_DECLARE_FLAG(int, tokens);
ABSL_FLAG(int, window_tokens, 1024, "perplexity: tokens of a window");
ABSL_FLAG(std::string, against, "",
          "perplexity: a second model with the same tokens, to compare window by window");

namespace kvpareto::tune {
namespace {

struct Measured {
  Perplexity perplexity;
  TextPieces pieces;
};

absl::StatusOr<Measured> MeasureModel(const std::string& model,
                                      const std::vector<NamedText>& texts) {
  EngineOptions options;
  options.model_path = model;
  options.threads = absl::GetFlag(FLAGS_threads);
  options.kv_capacity_bytes = uint64_t(absl::GetFlag(FLAGS_kv_capacity_mib)) << 20;
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));
  Measured measured;
  KVP_ASSIGN_OR_RETURN(measured.pieces, CutPieces(*engine, texts, absl::GetFlag(FLAGS_tokens),
                                                  absl::GetFlag(FLAGS_window_tokens)));
  Progress progress("tokens", measured.pieces.tokens);
  KVP_ASSIGN_OR_RETURN(measured.perplexity,
                       MeasurePerplexity(*engine, measured.pieces.pieces, progress));
  const Perplexity& result = measured.perplexity;
  std::printf("perplexity %.4f, nll %.5f +- %.5f, %lld tokens in %zu windows: %s\n", result.value(),
              result.mean_nll, result.standard_error, static_cast<long long>(result.tokens),
              result.windows.size(), measured.pieces.description.c_str());
  return measured;
}

}  // namespace

absl::Status RunPerplexity(const std::string& /*command*/) {
  const std::string against = absl::GetFlag(FLAGS_against);
  if (absl::GetFlag(FLAGS_tokens) < kMinCalibrationTokens ||
      absl::GetFlag(FLAGS_window_tokens) < 2) {
    return absl::InvalidArgumentError("--tokens must be at least " +
                                      std::to_string(kMinCalibrationTokens) +
                                      ", --window_tokens at least 2");
  }
  if (absl::GetFlag(FLAGS_kv_capacity_mib) < 1) {
    return absl::InvalidArgumentError("--kv_capacity_mib must be positive");
  }
  KVP_ASSIGN_OR_RETURN(const std::vector<NamedText> texts, TextsFlag());
  KVP_ASSIGN_OR_RETURN(const Measured model, MeasureModel(absl::GetFlag(FLAGS_model), texts));
  if (against.empty()) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(const Measured other, MeasureModel(against, texts));
  if (model.pieces.pieces != other.pieces.pieces) {
    return absl::InvalidArgumentError("--against has other tokens than --model");
  }
  const PairedScores windows = {model.perplexity.windows, other.perplexity.windows};
  const Interval difference = ComparePaired({&windows, 1}).difference;
  std::printf("difference of nll %+.5f (95%% between %+.5f and %+.5f)\n", difference.value,
              difference.low, difference.high);
  return absl::OkStatus();
}

}  // namespace kvpareto::tune
