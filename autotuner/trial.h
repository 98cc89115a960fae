// Everything that is measured of one config on one model's weights.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "autotuner/search_space.h"
#include "autotuner/speed.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// How far a config came; each stage measures more.
enum class TrialStage : uint8_t { kPlanned, kGate, kAccuracy, kFinal };
std::string_view TrialStageName(TrialStage stage);

struct Trial {
  SpaceConfig config;
  TrialStage stage = TrialStage::kPlanned;
  // Why it is no candidate: the reason of an error that is an outcome of this config
  // (KV_EXCEEDS_CAPACITY, ...), or a constraint ("min_accuracy"); empty: it is one.
  std::string failure;
  std::vector<AccuracyBucket> gate;              // one bucket, of less text
  std::vector<AccuracyBucket> accuracy;          // as a table has it
  std::optional<MeasuredRun> run;                // of one request at the depth of `speed`
  std::vector<std::vector<double>> task_scores;  // [task][item]; empty until measured

  bool is_reference() const { return config.group == ConfigGroup::kReference; }
  bool failed() const { return !failure.empty(); }
};

// Errors that end one trial but not a run: its memory does not fit, or the backend lacks something.
bool IsTrialOutcome(const absl::Status& status);

}  // namespace kvpareto::tune
