#include "engine/policy/plan_text.h"

#include <charconv>
#include <cstdio>

namespace kvpareto {
namespace {

std::string Readable(uint64_t bytes) {
  char text[32];
  if (bytes < 1024) {
    std::snprintf(text, sizeof text, "%d B", static_cast<int>(bytes));
  } else if (bytes < uint64_t{1} << 20) {
    std::snprintf(text, sizeof text, "%.1f KiB", static_cast<double>(bytes) / 1024.0);
  } else {
    std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  }
  return text;
}

}  // namespace

std::string_view ObjectiveName(Objective objective) {
  switch (objective) {
    case Objective::kMemory:
      return "memory";
    case Objective::kSpeed:
      return "speed";
    case Objective::kAccuracy:
      break;
  }
  return "accuracy";
}

std::string_view PlanReasonName(PlanReason reason) {
  switch (reason) {
    case PlanReason::kAccuracy:
      return "accuracy";
    case PlanReason::kBudget:
      return "budget";
    case PlanReason::kPressure:
      return "pressure";
    case PlanReason::kPinned:
      return "pinned";
    case PlanReason::kDefault:
      break;
  }
  return "default";
}

std::string ExactNumber(double value) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

std::string ExplainPlan(const Plan& plan, const KvDemand& demand) {
  std::string because;
  switch (plan.reason) {
    case PlanReason::kPinned:
      because = "was asked for by name";
      break;
    case PlanReason::kPressure:
      because = "fits the memory that is free now";
      break;
    case PlanReason::kBudget:
      because = "is the best by " + std::string(ObjectiveName(demand.objective)) +
                " within the budget of " + Readable(*demand.budget_bytes);
      break;
    case PlanReason::kAccuracy:
      because = "is the best by " + std::string(ObjectiveName(demand.objective)) +
                " at the accuracy target " + ExactNumber(*demand.accuracy_target);
      break;
    case PlanReason::kDefault:
      because = "is the best by " + std::string(ObjectiveName(demand.objective));
      break;
  }
  std::string text = plan.row_name + " " + because + ": it takes " +
                     Readable(plan.predicted_peak_bytes) + " at its peak, " +
                     Readable(plan.kv_peak_bytes) + " of it KV cache where bf16 takes " +
                     Readable(plan.bf16_peak_bytes);
  if (plan.accuracy) text += ", with accuracy " + ExactNumber(*plan.accuracy) + " or better";
  return text + ".";
}

}  // namespace kvpareto
