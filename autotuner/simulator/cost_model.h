// How long a step takes, from what it must read and multiply: the roofline of decode (bytes over
// bandwidth) and of prefill (operations over the matrix rate), one after the other.
#pragma once

#include <cstdint>

#include "engine/base/status.h"
#include "engine/policy/pareto_table.h"
#include "engine/scheduler/step_executor.h"

namespace kvpareto::sim {

struct CostModel {
  double weight_bytes = 0.0;        // read once a step
  double bytes_per_second = 0.0;    // of memory
  double flops_per_second = 0.0;    // of prefill
  double overhead_seconds = 0.0;    // of a step
  double flops_per_token = 0.0;     // of the linear layers
  double flops_per_attended = 0.0;  // of attention: per token and token that it reads

  double Seconds(const StepWork& work) const;
};

// Rates that are 0 are taken from the table's speed points: the medians over its rows. Error:
// INVALID_ARGUMENT (RATES_MISSING) where the table has none.
struct Rates {
  double bytes_per_second = 0.0;
  double flops_per_second = 0.0;
  double overhead_seconds = 0.0;
};
absl::StatusOr<CostModel> MakeCostModel(const ModelConfig& model, const ParetoTable& table,
                                        double weight_bytes, Rates rates);

}  // namespace kvpareto::sim
