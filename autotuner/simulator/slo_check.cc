#include "autotuner/simulator/slo_check.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/scheduler/class_ledger.h"
#include "engine/scheduler/plan_request.h"

namespace kvpareto::sim {
namespace {

constexpr int kAnyNumber = 1 << 20;  // of sequences: bytes are what counts here

// From 1k tokens by fours up to what model and class allow, that included.
std::vector<int64_t> Lengths(const ModelConfig& model, const ClassSlo& rules) {
  const int64_t most = std::min<int64_t>(rules.max_request_tokens.value_or(model.context_tokens),
                                         model.context_tokens);
  std::vector<int64_t> lengths;
  for (int64_t tokens = 1024; tokens < most; tokens *= 4) lengths.push_back(tokens);
  lengths.push_back(most);
  return lengths;
}

// A request of `tokens` tokens in all, one of them generated.
std::string DescribeLength(const RequestPlanner& planner, const AdmissionState& state,
                           const ClassSlo& rules, int64_t tokens) {
  PreparedRequest request;
  request.request.service_class = rules.name;
  request.prompt_tokens.resize(tokens);
  request.max_tokens = 1;
  const absl::Status status = planner.PlanRequest(state, request);
  std::string text = absl::StrFormat("  %7d tokens: ", tokens);
  if (!status.ok()) return text + std::string(status.message()) + "\n";
  const uint64_t limit = state.ledger.limit_bytes();
  const auto guaranteed = static_cast<uint64_t>(rules.guaranteed_share * limit);
  const uint64_t most = state.ledger.Most(rules.name).bytes;
  const auto fit = [&](const Plan& plan) {
    return absl::StrFormat("%s (%.1f MB, accuracy %.4g): %d to %d", plan.row_name,
                           plan.kv_peak_bytes / 1e6, plan.accuracy.value_or(0.0),
                           guaranteed / plan.kv_peak_bytes, most / plan.kv_peak_bytes);
  };
  text += fit(request.alternatives.front());
  if (request.alternatives.size() > 1) text += "; " + fit(request.alternatives.back());
  return text + "\n";
}

}  // namespace

absl::StatusOr<std::string> DescribeSlo(const ModelSlo& slo, const ParetoTable& table,
                                        const ModelConfig& model, uint64_t capacity_bytes,
                                        const WorkspaceFn& workspace) {
  KVP_RETURN_IF_ERROR(CheckSlo(slo, table, capacity_bytes));
  const AdmissionState state{.slo = std::make_shared<const ModelSlo>(slo),
                             .ledger = ClassLedger(slo, capacity_bytes, kAnyNumber)};
  const RequestPlanner planner{.table = &table, .model = &model, .workspace = workspace};
  std::vector<ClassSlo> classes = slo.classes;
  if (slo.ClassFor(kDefaultClass).where.empty()) classes.push_back(slo.ClassFor(kDefaultClass));
  std::string text = absl::StrFormat(
      "model %s: limit %.1f MB\nrequests held, guaranteed to at most, by the best config and by "
      "the "
      "smallest\n",
      slo.model, static_cast<double>(state.ledger.limit_bytes()) / 1e6);
  for (const ClassSlo& rules : classes) {
    absl::StrAppend(&text, "class ", rules.name, "\n");
    for (const int64_t tokens : Lengths(model, rules)) {
      text += DescribeLength(planner, state, rules, tokens);
    }
  }
  return text;
}

}  // namespace kvpareto::sim
