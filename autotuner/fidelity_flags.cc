#include "autotuner/fidelity_flags.h"

#include <algorithm>

#include "absl/flags/flag.h"
#include "absl/strings/str_split.h"
#include "autotuner/common_flags.h"
#include "autotuner/sha256.h"

ABSL_DECLARE_FLAG(std::string, calibration);
ABSL_FLAG(int64_t, text_tokens, 8192, "fidelity, layers: tokens of each text");
ABSL_FLAG(int64_t, skip_bytes, 0, "fidelity, layers: where in each text to begin");
ABSL_FLAG(int64_t, first, 1024, "fidelity, layers: first position that counts");
ABSL_FLAG(int64_t, stride, 3, "fidelity, layers: every so many positions count");
ABSL_FLAG(
    bool, prefill_arithmetic, false,
    "fidelity, layers: compute with the kernels of prefill, several times faster, less exact; "
    "caches and what is read of them stay the same. Take a bf16 reference then");

namespace kvpareto::tune {
namespace {

constexpr int kLargestStep = 4096;  // chunks of any config fit

}  // namespace

int64_t TextTokens() { return absl::GetFlag(FLAGS_text_tokens); }

absl::StatusOr<FidelityOptions> FidelityOptionsFromFlags() {
  FidelityOptions options{.first = absl::GetFlag(FLAGS_first),
                          .stride = absl::GetFlag(FLAGS_stride),
                          .prefill_arithmetic = absl::GetFlag(FLAGS_prefill_arithmetic)};
  if (options.first < 0 || options.stride < 1 || TextTokens() < 2) {
    return absl::InvalidArgumentError(
        "--first must not be negative, --stride at least 1, --text_tokens at least 2");
  }
  if (const std::string path = absl::GetFlag(FLAGS_calibration); !path.empty()) {
    KVP_ASSIGN_OR_RETURN(const std::string bytes, ReadTextFile(path));
    options.calibration_digest = Sha256Hex(bytes);
  }
  return options;
}

absl::StatusOr<std::unique_ptr<Engine>> OpenFidelityEngine() {
  EngineOptions options;
  options.model_path = absl::GetFlag(FLAGS_model);
  options.calibration_path = absl::GetFlag(FLAGS_calibration);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.kv_capacity_bytes = uint64_t(absl::GetFlag(FLAGS_kv_capacity_mib)) << 20;
  const auto step = static_cast<int>(std::min<int64_t>(TextTokens(), kLargestStep));
  options.max_step_tokens = std::max(options.max_step_tokens, step);
  return Engine::Create(options);
}

absl::StatusOr<std::vector<TokenizedText>> FidelityTexts(const Engine& engine) {
  const std::string list = absl::GetFlag(FLAGS_text);
  const std::vector<std::string> paths = absl::StrSplit(list, ',', absl::SkipEmpty());
  if (paths.empty()) return absl::InvalidArgumentError("--text is missing");
  std::vector<TokenizedText> texts;
  for (const std::string& path : paths) {
    KVP_ASSIGN_OR_RETURN(TokenizedText text, LoadText(engine, path, absl::GetFlag(FLAGS_skip_bytes),
                                                      absl::GetFlag(FLAGS_text_tokens)));
    texts.push_back(std::move(text));
  }
  return texts;
}

}  // namespace kvpareto::tune
