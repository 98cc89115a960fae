#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>

#include "absl/flags/flag.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"
#include "autotuner/sha256.h"

ABSL_FLAG(int, tokens, 16384, "calibrate: tokens of the text to run");

namespace kvpareto::tune {

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
  KVP_ASSIGN_OR_RETURN(Calibration calibration, engine->Calibrate(tokens));
  calibration.text = std::filesystem::path(text_path).filename().string() + " (sha256 " +
                     Sha256Hex(text) + "), first " + std::to_string(tokens.size()) + " tokens";
  KVP_RETURN_IF_ERROR(SaveCalibration(calibration, out_path));
  std::cerr << "ranges of " << tokens.size() << " tokens written to " << out_path << "\n";
  return absl::OkStatus();
}

}  // namespace kvpareto::tune
