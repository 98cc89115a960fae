#include <cstdio>
#include <memory>

#include "absl/flags/flag.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"
#include "autotuner/perplexity.h"

ABSL_DECLARE_FLAG(int, tokens);
ABSL_FLAG(int, window_tokens, 1024, "perplexity: tokens of a window");

namespace kvpareto::tune {

absl::Status RunPerplexity(const std::string& /*command*/) {
  const int tokens = absl::GetFlag(FLAGS_tokens), window = absl::GetFlag(FLAGS_window_tokens);
  const int capacity_mib = absl::GetFlag(FLAGS_kv_capacity_mib);
  if (tokens < kMinCalibrationTokens || window < 2) {
    return absl::InvalidArgumentError("--tokens must be at least " +
                                      std::to_string(kMinCalibrationTokens) +
                                      ", --window_tokens at least 2");
  }
  if (capacity_mib < 1) return absl::InvalidArgumentError("--kv_capacity_mib must be positive");
  KVP_ASSIGN_OR_RETURN(const std::vector<NamedText> texts, TextsFlag());
  EngineOptions options;
  options.model_path = absl::GetFlag(FLAGS_model);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.kv_capacity_bytes = uint64_t(capacity_mib) << 20;
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));
  KVP_ASSIGN_OR_RETURN(const TextPieces pieces, CutPieces(*engine, texts, tokens, window));
  Progress progress("tokens", pieces.tokens);
  KVP_ASSIGN_OR_RETURN(const Perplexity result,
                       MeasurePerplexity(*engine, pieces.pieces, progress));
  std::printf("perplexity %.4f, nll %.5f +- %.5f, %lld tokens in %zu windows: %s\n", result.value(),
              result.mean_nll, result.standard_error, static_cast<long long>(result.tokens),
              pieces.pieces.size(), pieces.description.c_str());
  return absl::OkStatus();
}

}  // namespace kvpareto::tune
