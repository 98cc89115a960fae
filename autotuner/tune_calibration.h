// The calibration file of a run: one that is named, or one made of the run's texts.
#pragma once

#include <string>
#include <vector>

#include "autotuner/calibration_text.h"
#include "autotuner/tune_spec.h"

namespace kvpareto::tune {

// Its path; empty when there is none, or no config needs one. A file that an earlier run made for
// these weights is kept; with `only_look` none is made. Errors: of the engine, the texts and
// Calibrate.
absl::StatusOr<std::string> CalibrationFor(const TuneSpec& spec, const ModelSpec& model,
                                           const WeightsSpec& weights, bool only_look);

// The texts that calibrations are made of. Errors: NOT_FOUND (FILE_NOT_READABLE).
absl::StatusOr<std::vector<NamedText>> CalibrationTexts(const TuneSpec& spec);

}  // namespace kvpareto::tune
