#include "engine/policy/choose_config.h"

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/policy/plan_text.h"

namespace kvpareto {
namespace {

// A row with what the request would take under it.
struct Candidate {
  const ParetoRow* row = nullptr;
  uint64_t kv_bytes = 0;
  uint64_t workspace_bytes = 0;
  std::optional<double> accuracy_low;

  uint64_t total_bytes() const { return kv_bytes + workspace_bytes; }
};

// What a request and the machine ask of a candidate.
struct Constraints {
  std::optional<double> accuracy_target;
  std::optional<uint64_t> budget_bytes;
  uint64_t kv_limit_bytes = 0;  // of the arena

  bool MeetsTarget(const Candidate& c) const {
    return !accuracy_target || (c.accuracy_low && *c.accuracy_low >= *accuracy_target);
  }
  bool FitsBudget(const Candidate& c) const {
    return !budget_bytes || c.total_bytes() <= *budget_bytes;
  }
  bool FitsArena(const Candidate& c) const { return c.kv_bytes <= kv_limit_bytes; }
  bool Admits(const Candidate& c) const { return MeetsTarget(c) && FitsBudget(c) && FitsArena(c); }
};

bool Better(Objective objective, const Candidate& a, const Candidate& b) {
  // Smaller is better in each place.
  const auto key = [objective](const Candidate& c) {
    const double loss = -c.accuracy_low.value_or(-1.0);
    const auto bytes = static_cast<double>(c.total_bytes());
    const double slowness = -c.row->speed.decode_tokens_per_second;
    switch (objective) {
      case Objective::kMemory:
        return std::tuple(bytes, loss);
      case Objective::kSpeed:
        return std::tuple(slowness, bytes);
      case Objective::kAccuracy:
        break;
    }
    return std::tuple(loss, bytes);
  };
  return key(a) < key(b);
}

// The first of the best; null if none is admitted.
const Candidate* Best(const std::vector<Candidate>& candidates, Objective objective,
                      const Constraints& constraints) {
  const Candidate* best = nullptr;
  for (const Candidate& c : candidates) {
    if (!constraints.Admits(c)) continue;
    if (best == nullptr || Better(objective, c, *best)) best = &c;
  }
  return best;
}

// All that are admitted, best first.
std::vector<const Candidate*> InOrder(const std::vector<Candidate>& candidates, Objective objective,
                                      const Constraints& constraints) {
  std::vector<const Candidate*> order;
  for (const Candidate& c : candidates) {
    if (constraints.Admits(c)) order.push_back(&c);
  }
  std::stable_sort(order.begin(), order.end(), [&](const Candidate* a, const Candidate* b) {
    return Better(objective, *a, *b);
  });
  return order;
}

absl::Status NoFeasibleConfig(const std::vector<Candidate>& candidates,
                              const Constraints& constraints) {
  std::map<std::string, std::string> metadata;
  std::string hint;
  Constraints any_budget = constraints;
  any_budget.budget_bytes.reset();
  if (const Candidate* c = Best(candidates, Objective::kMemory, any_budget)) {
    metadata["smallest_budget_bytes"] = std::to_string(c->total_bytes());
    hint += "; the smallest budget that would do is " + std::to_string(c->total_bytes()) + " bytes";
  }
  Constraints any_accuracy = constraints;
  any_accuracy.accuracy_target.reset();
  const Candidate* c = Best(candidates, Objective::kAccuracy, any_accuracy);
  if (c != nullptr && c->accuracy_low) {
    metadata["best_accuracy"] = ExactNumber(*c->accuracy_low);
    hint += "; the best accuracy within these limits is " + ExactNumber(*c->accuracy_low);
  }
  std::string wanted;
  if (constraints.accuracy_target) {
    wanted += " accuracy " + ExactNumber(*constraints.accuracy_target);
  }
  if (constraints.budget_bytes) {
    wanted +=
        (wanted.empty() ? " " : " within ") + std::to_string(*constraints.budget_bytes) + " bytes";
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "NO_FEASIBLE_CONFIG",
                   "no KV config gives" + wanted + " for this request" + hint, metadata);
}

absl::Status ExceedsCapacity(uint64_t needed_bytes, uint64_t capacity_bytes) {
  return MakeError(absl::StatusCode::kOutOfRange, "KV_EXCEEDS_CAPACITY",
                   "the request needs " + std::to_string(needed_bytes) +
                       " bytes of KV memory, the server has " + std::to_string(capacity_bytes),
                   {{"needed_bytes", std::to_string(needed_bytes)},
                    {"available_bytes", std::to_string(capacity_bytes)}});
}

// The choice under all constraints, the arena's capacity among them; or why there is none.
absl::StatusOr<const Candidate*> Feasible(const std::vector<Candidate>& candidates,
                                          Objective objective, const Constraints& constraints) {
  if (const Candidate* best = Best(candidates, objective, constraints)) return best;
  Constraints target_only = {.accuracy_target = constraints.accuracy_target,
                             .budget_bytes = std::nullopt,
                             .kv_limit_bytes = UINT64_MAX};
  uint64_t needed_bytes = UINT64_MAX;
  bool met = false;
  for (const Candidate& c : candidates) {
    if (!target_only.Admits(c)) continue;
    met = true;
    needed_bytes = std::min(needed_bytes, c.kv_bytes);
  }
  if (met && needed_bytes > constraints.kv_limit_bytes) {
    return ExceedsCapacity(needed_bytes, constraints.kv_limit_bytes);
  }
  return NoFeasibleConfig(candidates, constraints);
}

// Which constraint decided: the one without which another row would have been taken.
PlanReason ReasonFor(const std::vector<Candidate>& candidates, const KvDemand& demand,
                     const Constraints& constraints, const Candidate* chosen) {
  if (!demand.pinned.empty()) return PlanReason::kPinned;
  Constraints relaxed = constraints;
  relaxed.budget_bytes.reset();
  if (chosen != Best(candidates, demand.objective, relaxed)) return PlanReason::kBudget;
  relaxed.accuracy_target.reset();
  if (chosen != Best(candidates, demand.objective, relaxed)) return PlanReason::kAccuracy;
  return PlanReason::kDefault;
}

// The pinned config as a row: of the table, or made up.
absl::StatusOr<ParetoRow> PinnedRow(const ParetoTable& table, const std::string& pinned) {
  if (const ParetoRow* row = table.Find(pinned)) return *row;
  if (pinned.find('=') == pinned.npos) {
    std::string names;
    for (const ParetoRow& row : table.rows) names += (names.empty() ? "" : ", ") + row.name;
    return MakeError(absl::StatusCode::kInvalidArgument, "KV_CONFIG_UNKNOWN",
                     "the table has no KV config of the pinned name; it has " + names +
                         " (or pin a config's text form: k=CODEC v=CODEC ...)",
                     {{"known", names}});
  }
  ParetoRow row;
  KVP_ASSIGN_OR_RETURN(row.config, KvConfig::Parse(pinned));
  const auto same = std::find_if(table.rows.begin(), table.rows.end(),
                                 [&](const ParetoRow& r) { return r.config == row.config; });
  if (same != table.rows.end()) return *same;
  row.name = "pinned";
  return row;
}

Candidate MakeCandidate(const ParetoRow& row, const ModelConfig& model, const KvDemand& demand,
                        const WorkspaceFn& workspace) {
  return {.row = &row,
          .kv_bytes = PredictKvPeakBytes(row.config, model, demand),
          .workspace_bytes = workspace(row.config.prefill_chunk_tokens),
          .accuracy_low = AccuracyLowAt(row, demand.total_tokens)};
}

Plan MakePlan(const Candidate& chosen, const ModelConfig& model, const KvDemand& demand,
              PlanReason reason) {
  Plan plan;
  plan.row_name = chosen.row->name;
  plan.config = chosen.row->config;
  plan.kv_peak_bytes = chosen.kv_bytes;
  plan.workspace_bytes = chosen.workspace_bytes;
  plan.predicted_peak_bytes = chosen.total_bytes();
  plan.bf16_peak_bytes =
      PredictKvPeakBytes(KvConfig::Bf16(plan.config.prefill_chunk_tokens), model, demand);
  plan.accuracy = chosen.accuracy_low;
  plan.mean_accuracy = MeanAccuracyAt(*chosen.row, demand.total_tokens);
  plan.reason = reason;
  plan.explanation = ExplainPlan(plan, demand);
  return plan;
}

}  // namespace

uint64_t PredictKvPeakBytes(const KvConfig& config, const ModelConfig& model,
                            const KvDemand& demand) {
  if (demand.sequences < 1) return 0;
  const kv::FootprintParams params = Footprint(config, model);
  const auto own_peak = [&](int64_t shared_tokens) {
    return kv::OwnPeakBytesFrom(params, shared_tokens, demand.prompt_tokens, demand.total_tokens,
                                config.prefill_chunk_tokens);
  };
  const uint64_t others = demand.sequences - 1;
  uint64_t bytes = own_peak(0);
  if (others > 0) bytes += others * own_peak(SharedPromptTokens(config, demand.prompt_tokens));
  return bytes;
}

absl::StatusOr<std::vector<Plan>> AcceptablePlans(const ParetoTable& table,
                                                  const ModelConfig& model, const KvDemand& demand,
                                                  uint64_t capacity_bytes,
                                                  const WorkspaceFn& workspace) {
  ParetoRow pinned_row;
  std::vector<Candidate> candidates;
  if (demand.pinned.empty()) {
    for (const ParetoRow& row : table.rows) {
      if (!row.config.ValidateFor(model).ok()) continue;
      candidates.push_back(MakeCandidate(row, model, demand, workspace));
    }
  } else {
    KVP_ASSIGN_OR_RETURN(pinned_row, PinnedRow(table, demand.pinned));
    KVP_RETURN_IF_ERROR(pinned_row.config.ValidateFor(model));
    candidates.push_back(MakeCandidate(pinned_row, model, demand, workspace));
  }
  const Constraints constraints = {.accuracy_target = demand.accuracy_target,
                                   .budget_bytes = demand.budget_bytes,
                                   .kv_limit_bytes = capacity_bytes};
  KVP_ASSIGN_OR_RETURN(const Candidate* best, Feasible(candidates, demand.objective, constraints));
  std::vector<Plan> plans;
  for (const Candidate* chosen : InOrder(candidates, demand.objective, constraints)) {
    if (!plans.empty() && chosen->kv_bytes >= plans.back().kv_peak_bytes) continue;
    const PlanReason reason =
        chosen == best ? ReasonFor(candidates, demand, constraints, chosen) : PlanReason::kPressure;
    plans.push_back(MakePlan(*chosen, model, demand, reason));
  }
  return plans;
}

PromisedAccuracy AccuracyAfter(const Plan& present, const Plan& next) {
  if (!present.mean_accuracy || !next.accuracy) return {};
  const double lost = 1.0 - *present.mean_accuracy;
  return {.low = std::max(0.0, *next.accuracy - lost),
          .mean = std::max(0.0, next.mean_accuracy.value_or(*next.accuracy) - lost)};
}

const Plan& FirstThatFits(const std::vector<Plan>& plans, uint64_t available_bytes) {
  const auto fits = std::find_if(plans.begin(), plans.end(), [&](const Plan& plan) {
    return plan.kv_peak_bytes <= available_bytes;
  });
  return fits == plans.end() ? plans.front() : *fits;
}

absl::StatusOr<Plan> ChooseConfig(const ParetoTable& table, const ModelConfig& model,
                                  const KvDemand& demand, const MemoryState& memory,
                                  const WorkspaceFn& workspace) {
  KVP_ASSIGN_OR_RETURN(std::vector<Plan> plans,
                       AcceptablePlans(table, model, demand, memory.capacity_bytes, workspace));
  return FirstThatFits(plans, memory.available_bytes);
}

}  // namespace kvpareto
