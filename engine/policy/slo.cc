#include "engine/policy/slo.h"

#include <algorithm>

#include "engine/policy/plan_text.h"

namespace kvpareto {
namespace {

absl::Status Invalid(const std::string& where, const std::string& key, const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "SLO_INVALID",
                   where + ": " + key + ": " + message, {{"where", where}, {"key", key}});
}

// At the longest context that the class may use: accuracy falls with length.
absl::Status CheckFloor(const ClassSlo& service_class, const ParetoTable& table) {
  if (!service_class.accuracy_floor) return absl::OkStatus();
  double best = 0.0;
  for (const ParetoRow& row : table.rows) {
    const int64_t tokens = service_class.max_request_tokens.value_or(
        row.accuracy.empty() ? 0 : row.accuracy.back().max_context_tokens);
    best = std::max(best, AccuracyLowAt(row, tokens).value_or(0.0));
  }
  if (best >= *service_class.accuracy_floor) return absl::OkStatus();
  return Invalid(service_class.where, "accuracy_floor",
                 "no row of the Pareto table meets " + ExactNumber(*service_class.accuracy_floor) +
                     " at every context length of the class; the best is " + ExactNumber(best));
}

}  // namespace

std::string_view PressureActionName(PressureAction action) {
  switch (action) {
    case PressureAction::kShedPrefixCache:
      return "shed_prefix_cache";
    case PressureAction::kAdmitLower:
      return "admit_lower";
    case PressureAction::kRequantize:
      return "requantize";
    case PressureAction::kQueue:
      return "queue";
    case PressureAction::kRefuse:
      break;
  }
  return "refuse";
}

std::vector<PressureAction> AllPressureActions() {
  return {PressureAction::kShedPrefixCache, PressureAction::kAdmitLower,
          PressureAction::kRequantize, PressureAction::kQueue, PressureAction::kRefuse};
}

bool ClassSlo::Allows(PressureAction action) const {
  return std::find(pressure.begin(), pressure.end(), action) != pressure.end();
}

const ClassSlo& ModelSlo::ClassFor(std::string_view name) const {
  static const ClassSlo kBuiltIn;
  const ClassSlo* fallback = &kBuiltIn;
  for (const ClassSlo& c : classes) {
    if (c.name == name) return c;
    if (c.name == kDefaultClass) fallback = &c;
  }
  return *fallback;
}

uint64_t ModelSlo::LimitBytes(uint64_t capacity_bytes) const {
  if (const auto* bytes = std::get_if<uint64_t>(&kv_limit)) return std::min(*bytes, capacity_bytes);
  return static_cast<uint64_t>(std::get<double>(kv_limit) * static_cast<double>(capacity_bytes));
}

const ModelSlo* SloFile::Find(std::string_view model) const {
  const auto found = std::find_if(models.begin(), models.end(),
                                  [&](const ModelSlo& slo) { return slo.model == model; });
  return found == models.end() ? nullptr : &*found;
}

absl::Status CheckSlo(const ModelSlo& slo, const ParetoTable& table, uint64_t capacity_bytes) {
  if (const auto* bytes = std::get_if<uint64_t>(&slo.kv_limit);
      bytes != nullptr && *bytes > capacity_bytes) {
    return Invalid(slo.where, "kv_limit",
                   std::to_string(*bytes) + " bytes are more than the model's KV memory of " +
                       std::to_string(capacity_bytes) + " bytes");
  }
  for (const ClassSlo& service_class : slo.classes) {
    KVP_RETURN_IF_ERROR(CheckFloor(service_class, table));
  }
  return absl::OkStatus();
}

absl::Status ApplySlo(const ModelSlo& slo, const ClassSlo& service_class, KvDemand& demand) {
  if (const auto& most = service_class.max_request_tokens; most && demand.total_tokens > *most) {
    return MakeError(absl::StatusCode::kInvalidArgument, "CLASS_TOKEN_LIMIT",
                     "prompt and answer have " + std::to_string(demand.total_tokens) +
                         " tokens; class " + service_class.name + " allows " +
                         std::to_string(*most),
                     {{"max_request_tokens", std::to_string(*most)},
                      {"tokens", std::to_string(demand.total_tokens)}});
  }
  if (!demand.accuracy_target) demand.accuracy_target = slo.accuracy;
  if (service_class.accuracy_floor) {
    demand.accuracy_target =
        std::max(demand.accuracy_target.value_or(0.0), *service_class.accuracy_floor);
  }
  if (service_class.max_request_bytes) {
    demand.budget_bytes =
        std::min(demand.budget_bytes.value_or(UINT64_MAX), *service_class.max_request_bytes);
  }
  return absl::OkStatus();
}

}  // namespace kvpareto
