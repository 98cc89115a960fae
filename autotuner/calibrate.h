// The calibration of a model: engine/model/calibration.h says what is in it, docs/calibration.md
// how each part is made.
#pragma once

#include "autotuner/calibration_fit.h"
#include "autotuner/calibration_text.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct CalibrateOptions {
  int sampled_tiles = 4;           // per layer and head, that clip ratios are searched on
  double flag_ratio = kFlagRatio;  // calibration_fit.h
  int threads = 0;                 // of that search; 0: one per core

  // Errors: INVALID_ARGUMENT (TUNE_OPTION_INVALID) naming the option.
  absl::Status Validate() const;
};

struct CalibrationResult {
  Calibration calibration;
  std::vector<LayerBias> bias;  // of the layers that have one
};

// Runs the pieces through the engine twice: once for moments, to which rotations are fitted, once
// for what these do to ranges. Reports progress on stderr. The same engine, pieces and options give
// the same result. Errors: of Engine::Observe and of reading the weights.
absl::StatusOr<CalibrationResult> Calibrate(Engine& engine, const TextPieces& text,
                                            const CalibrateOptions& options);

}  // namespace kvpareto::tune
