#include "autotuner/tune_weights.h"

#include <filesystem>
#include <vector>

#include "autotuner/awq.h"
#include "autotuner/tune_calibration.h"

namespace kvpareto::tune {

absl::Status MakeWeights(const TuneSpec& spec, const WeightsSpec& weights) {
  const bool there = std::filesystem::exists(weights.path);
  if (weights.kind != WeightsKind::kAwq4 || there) return absl::OkStatus();
  if (weights.from.empty() || spec.calibration.files.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TUNE_OPTION_INVALID",
                     weights.path +
                         " is not there; to make it, `from` and calibration.files are "
                         "needed",
                     {{"option", "from"}});
  }
  KVP_ASSIGN_OR_RETURN(const std::vector<NamedText> texts, CalibrationTexts(spec));
  return QuantizeAwq({.model_path = weights.from,
                      .output_path = weights.path,
                      .group_size = weights.group,
                      .threads = spec.threads},
                     texts)
      .status();
}

}  // namespace kvpareto::tune
