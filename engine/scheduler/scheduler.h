// The engine thread: a SchedulerCore, and what other threads may ask of it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/model/transformer.h"
#include "engine/request.h"
#include "engine/scheduler/model_executor.h"
#include "engine/scheduler/queue_limits.h"
#include "engine/scheduler/scheduler_core.h"
#include "engine/scheduler/score_run.h"
#include "engine/text/tokenizer.h"

namespace kvpareto {

// All pointers outlive the scheduler. Public methods may be called from any thread.
class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, Transformer* transformer, const Tokenizer* tokenizer,
            kv::Arena* arena, TransformCache* transforms);
  // Cancels what is left and joins the thread.
  ~Scheduler();

  // As Engine::Submit.
  absl::StatusOr<RequestHandle> Submit(PreparedRequest prepared,
                                       std::shared_ptr<ResponseSink> sink);
  void Cancel(RequestHandle handle);
  // As Engine::Score; waits for its turn between steps.
  absl::Status Score(std::vector<int32_t> tokens, const KvConfig& config,
                     const ScoreOptions& options, ScoreLogitsFn on_logits);
  // As Engine::Observe, under `config`.
  absl::Status Observe(std::vector<int32_t> tokens, const KvConfig& config, ObserveFn observe);
  void Drain(Clock::time_point deadline);

  EngineStats Stats() const { return core_.stats().Snapshot(); }
  // The rules that new requests are admitted by from the next round on.
  void SetSlo(std::shared_ptr<const ModelSlo> slo);
  // What holds at the moment, for planning.
  AdmissionState admission() const;

 private:
  struct ScoreJob {
    ScoreInput input;
    std::promise<absl::Status> done;
  };

  absl::Status RunJob(ScoreInput input);
  void Run();         // the engine thread
  bool TakePosted();  // false: stop
  void RunScores();
  absl::Status RunScore(const ScoreInput& input);
  void CountQueued();
  void PublishAndTell();

  const SchedulerOptions options_;
  Transformer* const transformer_;
  kv::Arena* const arena_;

  // Engine thread only, but for core_.stats().
  ModelExecutor executor_;
  SchedulerCore core_;
  std::vector<RequestHandle> cancelled_;
  bool arrived_ = false;  // requests, in this round
  std::vector<std::unique_ptr<ScoreJob>> score_jobs_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable posted_, idle_;
  std::vector<std::unique_ptr<ActiveRequest>> posted_requests_;
  std::vector<RequestHandle> posted_cancels_;
  std::vector<std::unique_ptr<ScoreJob>> posted_scores_;
  uint64_t next_handle_ = 1;
  std::shared_ptr<const ModelSlo> posted_slo_;  // null: none since the last round
  AdmissionState admission_;
  QueueCounts queued_;                        // submitted, not yet admitted; by class
  std::chrono::milliseconds retry_after_{0};  // for a request that the queue is too full for
  size_t inside_ = 0;                         // submitted, not yet finished
  bool draining_ = false;
  bool cancel_all_ = false;
  bool stop_ = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace kvpareto
