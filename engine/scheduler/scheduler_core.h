// Continuous batching, without threads: admits requests, runs steps and hands out what they
// produce. Time and the steps' computation are given to it, so that the engine and the simulator
// run the same code.
//
// A round: DropCancelledAndExpired; Admit waiting requests by priority, then deadline, then arrival
// while their reservation fits (admission.h); RunStep (step_planner.h); Publish statistics; tell
// the sinks of TakeFinished.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/kv/arena.h"
#include "engine/request.h"
#include "engine/scheduler/active_request.h"
#include "engine/scheduler/admission.h"
#include "engine/scheduler/cache_format.h"
#include "engine/scheduler/drain_rate.h"
#include "engine/scheduler/prefix_sharing.h"
#include "engine/scheduler/requantizer.h"
#include "engine/scheduler/stats_recorder.h"
#include "engine/scheduler/step_executor.h"

namespace kvpareto {

struct SchedulerOptions {
  int max_prefill_rows = 1024;  // of one step
  int max_running_sequences = 64;
  int max_queued_requests = 256;
  uint64_t prefix_cache_bytes = 0;  // of prefixes that nobody runs on; 0: none are kept
};

// What a scheduler works with. All pointers outlive it.
struct SchedulerParts {
  const ModelConfig* model = nullptr;
  StepExecutor* executor = nullptr;
  kv::Arena* arena = nullptr;
  TransformCache* transforms = nullptr;  // null: nothing is transformed (a cost model)
  std::function<Clock::time_point()> now = [] { return Clock::now(); };
  uint64_t weights_bytes = 0;    // for statistics
  uint64_t workspace_bytes = 0;  // for statistics
};

// A request that has left: its memory is free. Its sink is to be told once the statistics say so
// too.
struct FinishedRequest {
  std::unique_ptr<ActiveRequest> request;
  absl::Status status;
  Usage usage;
};

// Not thread-safe but for stats(): owned by the engine thread.
class SchedulerCore {
 public:
  SchedulerCore(const SchedulerOptions& options, const SchedulerParts& parts);

  // The rules from now on; what has been admitted stays.
  void SetSlo(std::shared_ptr<const ModelSlo> slo) { admission_.SetSlo(std::move(slo)); }
  void Enqueue(std::unique_ptr<ActiveRequest> request);
  // Ends the requests of these handles (unknown ones are ignored) and those whose time is over.
  void DropCancelledAndExpired(std::span<const RequestHandle> cancelled);
  void Admit();
  bool RunStep();  // false: there was nothing to do
  void FinishAll(const absl::Status& status);
  void Publish();
  std::vector<FinishedRequest> TakeFinished() { return std::exchange(finished_, {}); }

  bool idle() const { return running_.empty() && waiting_.empty(); }
  const std::vector<std::unique_ptr<ActiveRequest>>& waiting() const { return waiting_; }
  const std::vector<std::unique_ptr<ActiveRequest>>& running() const { return running_; }
  const AdmissionState& admission() const { return admission_.state(); }
  // When a request that needs `bytes` more than what waits already may hope for them.
  std::chrono::milliseconds RetryAfter(uint64_t bytes) const;
  const PrefixCache& prefix_cache() const { return sharing_.cache(); }
  CacheFormats& formats() { return formats_; }
  StatsRecorder& stats() { return stats_; }
  const StatsRecorder& stats() const { return stats_; }

 private:
  using Requests = std::vector<std::unique_ptr<ActiveRequest>>;

  // One sequence's part in a step.
  struct Slot {
    ActiveRequest* request;
    Sequence* sequence;
  };

  absl::Status Start(ActiveRequest& request);
  absl::Status Refusal(const ActiveRequest& request, AdmissionVerdict verdict) const;
  std::vector<Slot> ChooseSlots(int* decode_rows, std::vector<int>* chunks);
  StepWork AllocateExtents(const std::vector<Slot>& slots, int decode_rows);
  bool IsRunning(const ActiveRequest* request) const;
  void EndStep(const std::vector<Slot>& slots, const StepOutputs& outputs, bool ok);
  void HandleFailure(const std::vector<Slot>& slots, const absl::Status& status);
  void HandleNotFinite(const std::vector<Slot>& slots, const StepOutputs& outputs);
  void HandleOutput(const Slot& slot, StepOutput output);
  void Finish(ActiveRequest* request, absl::Status status);
  void FinishWhere(Requests& requests,
                   const std::function<absl::Status(const ActiveRequest&)>& verdict);
  void ObservePrediction(const ActiveRequest& request, const Usage& usage);
  Usage MakeUsage(const ActiveRequest& request) const;

  const SchedulerOptions options_;
  const SchedulerParts parts_;
  StatsRecorder stats_;
  CacheFormats formats_;
  PrefixSharing sharing_;
  Requantizer requantizer_;
  Requests waiting_;  // in the order in which they are to be admitted
  Requests running_;  // in order of admission
  Admission admission_;
  DrainRate drain_rate_;
  std::vector<FinishedRequest> finished_;
  absl::Status failure_;  // of the device: what every later request gets
};

}  // namespace kvpareto
