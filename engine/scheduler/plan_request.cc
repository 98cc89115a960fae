#include "engine/scheduler/plan_request.h"

namespace kvpareto {

absl::Status RequestPlanner::PlanRequest(const AdmissionState& state,
                                         PreparedRequest& prepared) const {
  const Request& request = prepared.request;
  const auto prompt_tokens = static_cast<int64_t>(prepared.prompt_tokens.size());
  const Objective objective = state.slo->objective.value_or(Objective::kAccuracy);
  // The last generated token is never fed back, so it takes no memory.
  KvDemand demand{.prompt_tokens = prompt_tokens,
                  .total_tokens = prompt_tokens + prepared.max_tokens - 1,
                  .sequences = request.num_sequences,
                  .budget_bytes = request.kv.memory_budget_bytes,
                  .accuracy_target = request.kv.accuracy_target,
                  .objective = request.kv.objective.value_or(objective),
                  .pinned = request.kv.pinned_config};
  const ClassSlo& rules = state.slo->ClassFor(request.service_class);
  KVP_RETURN_IF_ERROR(ApplySlo(*state.slo, rules, demand));
  const MemoryState memory = state.MemoryFor(request.service_class);
  KVP_ASSIGN_OR_RETURN(prepared.alternatives,
                       AcceptablePlans(*table, *model, demand, memory.capacity_bytes, workspace));
  prepared.accuracy_target = demand.accuracy_target;
  prepared.plan = FirstThatFits(prepared.alternatives, memory.available_bytes);
  return absl::OkStatus();
}

}  // namespace kvpareto
