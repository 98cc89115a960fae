// The measurement of a Pareto table.
#pragma once

#include <string>
#include <vector>

#include "autotuner/accuracy.h"
#include "autotuner/config_list.h"
#include "autotuner/speed.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct MeasureOptions {
  std::string model_path;
  std::string calibration_path;  // empty: configs that need one are left out
  std::string text;              // what it is measured on
  std::string text_name;         // for the provenance
  std::string command;           // for the provenance
  std::vector<NamedConfig> configs;
  int windows = 2;  // of text, each as long as the largest context
  AccuracyOptions accuracy;
  SpeedOptions speed;
  bool keep_dominated = false;
  uint64_t kv_capacity_bytes = uint64_t{1} << 30;
  int threads = 0;  // 0: one per core

  // Errors: INVALID_ARGUMENT (TUNE_OPTION_INVALID) naming the option.
  absl::Status Validate() const;
};

// Loads the model, measures every config that it can use and returns the table: the rows that no
// other dominates at the largest context, and a bf16 row. Reports progress on stderr.
absl::StatusOr<ParetoTable> Measure(const MeasureOptions& options);

}  // namespace kvpareto::tune
