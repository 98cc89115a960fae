#include "engine/scheduler/step_planner.h"

namespace kvpareto {

StepPlan PlanStep(std::span<const StepCandidate> candidates, int max_prefill_rows) {
  StepPlan plan;
  int prefill_rows = 0;
  bool full = false;
  for (int i = 0; i < static_cast<int>(candidates.size()); ++i) {
    const StepCandidate& candidate = candidates[i];
    if (!candidate.prefill) {
      plan.decode.push_back(i);
      continue;
    }
    // Strictly in order: a small chunk does not overtake a large one, or the large one might never
    // run.
    full = full || prefill_rows + candidate.tokens > max_prefill_rows;
    if (full) continue;
    prefill_rows += candidate.tokens;
    plan.prefill.push_back(i);
  }
  return plan;
}

}  // namespace kvpareto
