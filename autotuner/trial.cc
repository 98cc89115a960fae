#include "autotuner/trial.h"

namespace kvpareto::tune {

std::string_view TrialStageName(TrialStage stage) {
  switch (stage) {
    case TrialStage::kGate:
      return "gate";
    case TrialStage::kAccuracy:
      return "accuracy";
    case TrialStage::kFinal:
      return "final";
    case TrialStage::kPlanned:
      break;
  }
  return "planned";
}

bool IsTrialOutcome(const absl::Status& status) {
  return status.code() == absl::StatusCode::kResourceExhausted ||
         status.code() == absl::StatusCode::kOutOfRange ||
         status.code() == absl::StatusCode::kUnimplemented;
}

}  // namespace kvpareto::tune
