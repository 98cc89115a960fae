// Steps that take time and compute nothing.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "autotuner/simulator/cost_model.h"
#include "engine/scheduler/active_request.h"
#include "engine/scheduler/step_executor.h"

namespace kvpareto::sim {

class CostExecutor final : public StepExecutor {
 public:
  // `now` outlives the executor: steps move it on.
  CostExecutor(const CostModel& cost, Clock::time_point* now) : cost_(cost), now_(now) {}

  // How many tokens each sequence of the request `id` will generate, from its Start on.
  void Expect(const std::string& id, int output_tokens) { outputs_[id] = output_tokens; }

  std::unique_ptr<Continuation> Start(const PreparedRequest& prepared, int index) override;
  absl::Status Run(const StepWork& work, StepOutputs& outputs) override;

 private:
  const CostModel cost_;
  Clock::time_point* const now_;
  std::map<std::string, int> outputs_;
};

}  // namespace kvpareto::sim
