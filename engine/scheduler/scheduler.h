// Continuous batching: one thread that admits requests, runs steps and hands out what they produce.
//
// Each round: take what other threads have posted; drop what has been cancelled or has expired;
// admit waiting requests in order of arrival while their reservation fits; run one step
// (step_planner.h); publish statistics; tell the sinks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/kv/arena.h"
#include "engine/model/transformer.h"
#include "engine/request.h"
#include "engine/scheduler/active_request.h"
#include "engine/scheduler/cache_format.h"
#include "engine/scheduler/score_run.h"
#include "engine/scheduler/stats_recorder.h"
#include "engine/text/tokenizer.h"

namespace kvpareto {

struct SchedulerOptions {
  int max_prefill_rows = 1024;  // of one step
  int max_running_sequences = 64;
  int max_queued_requests = 256;
};

// All pointers outlive the scheduler. Public methods may be called from any thread.
class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, Backend* backend, Transformer* transformer,
            const Tokenizer* tokenizer, kv::Arena* arena, TransformCache* transforms);
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

  EngineStats Stats() const { return stats_.Snapshot(); }
  // What new requests may still reserve.
  uint64_t available_bytes() const { return available_bytes_.load(std::memory_order_relaxed); }

 private:
  using Requests = std::vector<std::unique_ptr<ActiveRequest>>;

  struct ScoreJob {
    ScoreInput input;
    std::promise<absl::Status> done;
  };

  // A request that has left, waiting for statistics to be published before its sink hears of it.
  struct Finished {
    std::unique_ptr<ActiveRequest> request;
    absl::Status status;
    Usage usage;
  };

  // One sequence's part in a step.
  struct Slot {
    ActiveRequest* request;
    Sequence* sequence;
  };

  absl::Status RunJob(ScoreInput input);
  void Run();         // the engine thread
  bool TakePosted();  // false: stop
  void DropCancelledAndExpired();
  void Admit();
  bool RunStep();  // false: there was nothing to do
  std::vector<Slot> ChooseSlots(int* decode_rows, std::vector<int>* chunks) const;
  StepBatch BuildBatch(const std::vector<Slot>& slots, int decode_rows);
  void HandleLogits(const Slot& slot, std::span<float> logits);
  void Finish(ActiveRequest* request, absl::Status status);
  void FinishWhere(Requests& requests,
                   const std::function<absl::Status(const ActiveRequest&)>& verdict);
  void FinishAll(const absl::Status& status);
  void ObservePrediction(const ActiveRequest& request, const Usage& usage);
  void PublishAndTell();
  absl::Status RunScore(const ScoreInput& input);
  Usage MakeUsage(const ActiveRequest& request) const;

  const SchedulerOptions options_;
  Backend* const backend_;
  Transformer* const transformer_;
  const Tokenizer* const tokenizer_;
  kv::Arena* const arena_;
  TransformCache* const transforms_;
  StatsRecorder stats_;

  // Engine thread only.
  CacheFormats formats_;
  Requests waiting_, running_;  // in order of arrival
  std::vector<Finished> finished_;
  std::vector<RequestHandle> cancelled_;
  std::vector<std::unique_ptr<ScoreJob>> score_jobs_;

  std::atomic<uint64_t> available_bytes_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable posted_, idle_;
  Requests posted_requests_;
  std::vector<RequestHandle> posted_cancels_;
  std::vector<std::unique_ptr<ScoreJob>> posted_scores_;
  uint64_t next_handle_ = 1;
  int queued_ = 0;  // submitted, not yet admitted
  int inside_ = 0;  // submitted, not yet finished
  bool draining_ = false;
  bool cancel_all_ = false;
  bool stop_ = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace kvpareto
