// Flags and files that every subcommand has.
#pragma once

#include <string>
#include <vector>

#include "absl/flags/declare.h"
#include "autotuner/calibration_text.h"
#include "autotuner/text_file.h"

ABSL_DECLARE_FLAG(std::string, model);
ABSL_DECLARE_FLAG(std::string, text);
ABSL_DECLARE_FLAG(std::string, out);
ABSL_DECLARE_FLAG(int, threads);
ABSL_DECLARE_FLAG(int, kv_capacity_mib);

namespace kvpareto::tune {

// The files of --text, a list with commas. Errors: none are named; of reading them.
absl::StatusOr<std::vector<NamedText>> TextsFlag();

}  // namespace kvpareto::tune
