// Speed of KV configs, as one request sees it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autotuner/config_list.h"
#include "autotuner/progress.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct SpeedOptions {
  int64_t context_tokens = 2048;  // prompt length; decode is measured right behind it
  int decode_tokens = 32;
  int repeats = 3;  // medians are reported
};

// What one request showed: how fast it was, and what it took of the arena and the workspace.
struct MeasuredRun {
  SpeedPoint speed;
  uint64_t predicted_peak_bytes = 0;  // by the plan
  uint64_t measured_peak_bytes = 0;
};

// Runs of the model: the unit of `progress`.
int64_t SpeedWork(const std::vector<NamedConfig>& configs, const SpeedOptions& options);

// Submits `prompt` alone, pinned to a config, and times it. The configs take turns, so that a slow
// moment of the machine hits one run of each rather than all runs of one. `progress` may be null.
// Errors: of Engine::Prepare and Submit, and the requests' own final status.
absl::StatusOr<std::vector<MeasuredRun>> MeasureSpeeds(Engine& engine,
                                                       std::span<const int32_t> prompt,
                                                       const std::vector<NamedConfig>& configs,
                                                       const SpeedOptions& options,
                                                       Progress* progress);

}  // namespace kvpareto::tune
