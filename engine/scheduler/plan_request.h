// What a request may be admitted with: its demand under the rules of its class.
#pragma once

#include "engine/base/status.h"
#include "engine/request.h"
#include "engine/scheduler/admission.h"

namespace kvpareto {

// All outlive the planner. A value.
struct RequestPlanner {
  const ParetoTable* table = nullptr;
  const ModelConfig* model = nullptr;
  WorkspaceFn workspace;

  // Sets `alternatives`, `accuracy_target` and `plan` of a request whose prompt and max_tokens are
  // known. Errors: of ApplySlo and AcceptablePlans.
  absl::Status PlanRequest(const AdmissionState& state, PreparedRequest& prepared) const;
};

}  // namespace kvpareto
