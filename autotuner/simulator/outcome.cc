#include "autotuner/simulator/outcome.h"

namespace kvpareto::sim {
namespace {

std::string ReasonOf(const absl::Status& status) {
  const auto info = GetErrorInfo(status);
  return info ? info->reason : std::string(absl::StatusCodeToString(status.code()));
}

class Sink final : public ResponseSink {
 public:
  Sink(const Replica* replica, const TraceRequest& request, ClassOutcome* outcome)
      : replica_(replica),
        submitted_(replica->now()),
        target_(request.kv.accuracy_target),
        outcome_(outcome) {}

  void OnAdmitted(const Plan& plan) override {
    admitted_ = true;
    outcome_->queue_seconds.Add(Seconds(replica_->now() - submitted_));
    ++outcome_->by_config[plan.row_name];
    if (target_ && !(plan.accuracy.value_or(0.0) >= *target_)) ++outcome_->below_target;
  }
  void OnDelta(Delta /*delta*/) override {
    const auto now = replica_->now();
    if (last_token_) {
      outcome_->gap_seconds.Add(Seconds(now - *last_token_));
    } else {
      outcome_->first_token_seconds.Add(Seconds(now - submitted_));
    }
    last_token_ = now;
  }
  void OnFinish(const absl::Status& status, const Usage& usage) override {
    outcome_->generated_tokens += usage.generated_tokens;
    if (status.ok()) {
      ++outcome_->finished;
    } else {
      ++(admitted_ ? outcome_->failed : outcome_->refused)[ReasonOf(status)];
    }
  }

 private:
  const Replica* const replica_;
  const Clock::time_point submitted_;
  const std::optional<double> target_;
  ClassOutcome* const outcome_;
  bool admitted_ = false;
  std::optional<Clock::time_point> last_token_;
};

}  // namespace

std::shared_ptr<ResponseSink> MakeSink(const Replica* replica, const TraceRequest& request,
                                       ClassOutcome* outcome) {
  return std::make_shared<Sink>(replica, request, outcome);
}

void CountRefusal(const absl::Status& status, ClassOutcome& outcome) {
  ++outcome.refused[ReasonOf(status)];
}

}  // namespace kvpareto::sim
