// Measures rows of a table again, on this machine.
#pragma once

#include <string>
#include <vector>

#include "autotuner/stop.h"
#include "autotuner/tune_spec.h"

namespace kvpareto::tune {

struct CheckOptions {
  int rows = 3;              // so many of the table's, evenly spread
  double speed_ratio = 1.5;  // what a speed may differ by, either way
};

struct CheckedRow {
  std::string name;
  std::vector<std::string> drifts;  // compare_rows.h; empty: it holds
};

// `spec` is the file that the table was made from: its texts, windows and contexts are used, and
// the one of its models whose weights the table names. Errors: FAILED_PRECONDITION
// (TABLE_MODEL_MISMATCH) when none of them has these weights; of the bench; CANCELLED (IsStop).
absl::StatusOr<std::vector<CheckedRow>> CheckTable(const ParetoTable& table, const TuneSpec& spec,
                                                   const StopCheck& stop,
                                                   const CheckOptions& options);

}  // namespace kvpareto::tune
