#include "autotuner/simulator/cost_executor.h"

namespace kvpareto::sim {
namespace {

class CountedContinuation final : public Continuation {
 public:
  CountedContinuation(int index, int64_t prompt_tokens, int output_tokens)
      : index_(index), num_tokens_(prompt_tokens), end_tokens_(prompt_tokens + output_tokens) {}

  int64_t num_tokens() const override { return num_tokens_; }
  std::span<const int32_t> tokens() const override { return {}; }
  absl::StatusOr<Delta> Accept(StepOutput /*output*/) override {
    Delta delta{.sequence = index_};
    if (++num_tokens_ == end_tokens_) delta.finish_reason = FinishReason::kStop;
    return delta;
  }

 private:
  const int index_;
  int64_t num_tokens_;
  const int64_t end_tokens_;
};

}  // namespace

std::unique_ptr<Continuation> CostExecutor::Start(const PreparedRequest& prepared, int index) {
  const auto found = outputs_.find(prepared.request.request_id);
  const int output_tokens = found == outputs_.end() ? prepared.max_tokens : found->second;
  return std::make_unique<CountedContinuation>(
      index, static_cast<int64_t>(prepared.prompt_tokens.size()), output_tokens);
}

absl::Status CostExecutor::Run(const StepWork& work, StepOutputs& /*outputs*/) {
  *now_ += std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(cost_.Seconds(work)));
  return absl::OkStatus();
}

}  // namespace kvpareto::sim
