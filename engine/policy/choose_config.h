// Choosing a KV config for one request: pure functions of table, request and memory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/policy/pareto_table.h"

namespace kvpareto {

enum class Objective : uint8_t { kAccuracy, kMemory, kSpeed };
std::string_view ObjectiveName(Objective objective);

// What a request asks of its cache.
struct KvDemand {
  int64_t prompt_tokens = 0;
  int64_t total_tokens = 0;  // prompt + the tokens it may generate
  int sequences = 1;         // n
  std::optional<uint64_t> budget_bytes;
  std::optional<double> accuracy_target;  // 0..1
  Objective objective = Objective::kAccuracy;
  std::string pinned;  // a row's name, or a KV config's text form; empty: choose
};

struct MemoryState {
  uint64_t capacity_bytes = 0;   // of the arena
  uint64_t available_bytes = 0;  // capacity - reserved
};

enum class PlanReason : uint8_t { kDefault, kAccuracy, kBudget, kPressure, kPinned };
std::string_view PlanReasonName(PlanReason reason);

// What was chosen, what it will take, and why.
struct Plan {
  std::string row_name;  // "pinned" for a config that is in no row
  KvConfig config;
  uint64_t kv_peak_bytes = 0;           // blocks of all sequences, exact prediction
  uint64_t workspace_bytes = 0;         // share of the prefill workspace
  uint64_t predicted_peak_bytes = 0;    // the sum: what a budget is compared with
  uint64_t bf16_peak_bytes = 0;         // kv_peak_bytes of the bf16 cache with the same chunk
  std::optional<double> accuracy;       // AccuracyLowAt(row, total_tokens), if known
  std::optional<double> mean_accuracy;  // MeanAccuracyAt(row, total_tokens), if known
  PlanReason reason = PlanReason::kDefault;
  std::string explanation;  // one sentence for people
};

// Workspace bytes of one prefill chunk of the given size (model/transformer.h knows).
using WorkspaceFn = std::function<uint64_t(int chunk_tokens)>;

// Keeps the rows whose accuracy_low at the context (total_tokens) meets the target and whose
// predicted peak fits the budget (blocks and workspace) and the arena (blocks); takes the best by
// objective (accuracy: highest accuracy_low, then fewest bytes; memory: fewest bytes, then highest
// accuracy; speed: fastest decode, then fewest bytes; what is equal in both: the earlier row). Rows
// that fit what is available now are preferred (reason kPressure when that changed the choice; if
// none fits now, the choice is as without pressure and the request waits). A pinned config is a
// table of one row: budget, target and capacity hold for it, too; one that is in no row has no
// known accuracy and meets no target. Rows that do not fit the model are ignored. Errors:
//   INVALID_ARGUMENT NO_FEASIBLE_CONFIG, metadata "smallest_budget_bytes" (at this accuracy),
//     "best_accuracy" (at this budget), each only if there is one;
//   OUT_OF_RANGE KV_EXCEEDS_CAPACITY when no row that meets the target fits the arena, whatever the
//     budget; metadata "needed_bytes" (the smallest of them), "available_bytes" (the capacity);
//   INVALID_ARGUMENT KV_CONFIG_INVALID / KV_CONFIG_UNKNOWN for a pinned config that does not parse.
absl::StatusOr<Plan> ChooseConfig(const ParetoTable& table, const ModelConfig& model,
                                  const KvDemand& demand, const MemoryState& memory,
                                  const WorkspaceFn& workspace);

// All plans that ChooseConfig chooses from, in its order: the first is the choice when enough is
// available, each later one takes less KV memory and has reason kPressure. Never empty. Errors: as
// ChooseConfig.
absl::StatusOr<std::vector<Plan>> AcceptablePlans(const ParetoTable& table,
                                                  const ModelConfig& model, const KvDemand& demand,
                                                  uint64_t capacity_bytes,
                                                  const WorkspaceFn& workspace);

// What a request is promised that has been served by `present` and whose blocks are encoded anew by
// `next`. Decoded values are encoded a second time, so what they have lost is lost already: at most
// as many tokens differ from those of bf16 as differ in `present` (on average, as measured) and
// between the two. Nothing is promised where either was not measured.
struct PromisedAccuracy {
  std::optional<double> low, mean;
};
PromisedAccuracy AccuracyAfter(const Plan& present, const Plan& next);

// The first plan that takes no more than what is available; the first of all if none does.
const Plan& FirstThatFits(const std::vector<Plan>& plans, uint64_t available_bytes);

// Peak bytes of the demand under one config: blocks of all sequences (no workspace). Sequences
// share the blocks of their prompt; nothing is counted on that others may have left of it.
uint64_t PredictKvPeakBytes(const KvConfig& config, const ModelConfig& model,
                            const KvDemand& demand);

}  // namespace kvpareto
