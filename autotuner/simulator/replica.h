// One simulated server: the engine's scheduler core, policy and arena, over memory that is not
// there and a clock that its steps move on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "autotuner/simulator/cost_executor.h"
#include "autotuner/simulator/trace.h"
#include "engine/kv/arena.h"
#include "engine/scheduler/plan_request.h"
#include "engine/scheduler/scheduler_core.h"

namespace kvpareto::sim {

struct ReplicaOptions {
  SchedulerOptions scheduling;
  uint64_t capacity_bytes = 0;
  CostModel cost;
  std::function<uint64_t(int chunk_tokens)> workspace;
};

class Replica {
 public:
  // `model` and `table` outlive it; the configs of the table fit the model.
  Replica(const ReplicaOptions& options, const ModelConfig* model, const ParetoTable* table);

  void SetSlo(std::shared_ptr<const ModelSlo> slo) { core_.SetSlo(std::move(slo)); }
  // Rounds until `until`, or until nothing is left to do; then the clock stands at `until` at
  // least.
  void AdvanceTo(Clock::time_point until);
  // All that has been submitted ends.
  void Finish();
  // As the server does: plans, and queues what is not refused. Errors: of both; then the sink is
  // never called.
  absl::Status Submit(const TraceRequest& request, const std::string& id,
                      std::shared_ptr<ResponseSink> sink);
  // What a balancer would send the next request by: bytes promised and waited for.
  uint64_t Load() const;

  Clock::time_point now() const { return now_; }
  SchedulerCore& core() { return core_; }
  const kv::Arena& arena() const { return arena_; }
  // Called after every round, for checks and measurements.
  void SetObserver(std::function<void()> observe) { observe_ = std::move(observe); }

 private:
  void Round();
  absl::StatusOr<PreparedRequest> Prepare(const TraceRequest& request, const std::string& id) const;

  const ReplicaOptions options_;
  const ModelConfig* const model_;
  Clock::time_point now_{};
  kv::Arena arena_;
  CostExecutor executor_;
  RequestPlanner planner_;
  SchedulerCore core_;
  uint64_t next_handle_ = 1;
  std::function<void()> observe_;
};

}  // namespace kvpareto::sim
