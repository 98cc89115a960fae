#include "engine/scheduler/scheduler.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace kvpareto {

Scheduler::Scheduler(const SchedulerOptions& options, Transformer* transformer,
                     const Tokenizer* tokenizer, kv::Arena* arena, TransformCache* transforms)
    : options_(options),
      transformer_(transformer),
      arena_(arena),
      executor_(transformer, tokenizer),
      core_(options, {.model = &transformer->config(),
                      .executor = &executor_,
                      .arena = arena,
                      .transforms = transforms,
                      .weights_bytes = transformer->weights().resident_bytes(),
                      .workspace_bytes = transformer->workspace_bytes()}),
      admission_(core_.admission()) {
  thread_ = std::thread([this] { Run(); });
}

Scheduler::~Scheduler() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  posted_.notify_all();
  thread_.join();
}

absl::StatusOr<RequestHandle> Scheduler::Submit(PreparedRequest prepared,
                                                std::shared_ptr<ResponseSink> sink) {
  auto request = std::make_unique<ActiveRequest>();
  request->submitted = Clock::now();
  if (prepared.request.deadline.has_value() && *prepared.request.deadline <= request->submitted) {
    return MakeError(absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED",
                     "the deadline passed before the request was queued");
  }
  request->prepared = std::move(prepared);
  request->sink = std::move(sink);
  std::lock_guard lock(mutex_);
  if (draining_ || stop_) {
    return MakeError(absl::StatusCode::kUnavailable, "DRAINING", "the server is shutting down");
  }
  KVP_RETURN_IF_ERROR(CheckQueue(queued_, *admission_.slo, request->service_class(),
                                 options_.max_queued_requests, [this] { return retry_after_; }));
  const RequestHandle handle{next_handle_++};
  request->handle = handle;
  ++queued_[request->service_class()];
  posted_requests_.push_back(std::move(request));
  ++inside_;
  posted_.notify_one();
  return handle;
}

void Scheduler::SetSlo(std::shared_ptr<const ModelSlo> slo) {
  std::lock_guard lock(mutex_);
  posted_slo_ = std::move(slo);
  posted_.notify_one();
}

AdmissionState Scheduler::admission() const {
  std::lock_guard lock(mutex_);
  return admission_;
}

void Scheduler::Cancel(RequestHandle handle) {
  std::lock_guard lock(mutex_);
  posted_cancels_.push_back(handle);
  posted_.notify_one();
}

absl::Status Scheduler::Score(std::vector<int32_t> tokens, const KvConfig& config,
                              const ScoreOptions& options, ScoreLogitsFn on_logits) {
  return RunJob({.tokens = std::move(tokens),
                 .config = config,
                 .options = options,
                 .on_logits = std::move(on_logits),
                 .observe = nullptr});
}

absl::Status Scheduler::Observe(std::vector<int32_t> tokens, const KvConfig& config,
                                ObserveFn observe) {
  return RunJob({.tokens = std::move(tokens),
                 .config = config,
                 .options = {},
                 .on_logits = nullptr,
                 .observe = std::move(observe)});
}

absl::Status Scheduler::RunJob(ScoreInput input) {
  auto job = std::make_unique<ScoreJob>();
  job->input = std::move(input);
  std::future<absl::Status> done = job->done.get_future();
  {
    std::lock_guard lock(mutex_);
    if (stop_) return absl::UnavailableError("the engine is stopping");
    posted_scores_.push_back(std::move(job));
    posted_.notify_one();
  }
  return done.get();
}

void Scheduler::Drain(Clock::time_point deadline) {
  core_.stats().SetDraining();
  std::unique_lock lock(mutex_);
  draining_ = true;
  if (idle_.wait_until(lock, deadline, [this] { return inside_ == 0; })) return;
  cancel_all_ = true;
  posted_.notify_one();
  idle_.wait(lock, [this] { return inside_ == 0; });
}

void Scheduler::Run() {
  while (TakePosted()) {
    core_.DropCancelledAndExpired(cancelled_);
    RunScores();
    core_.Admit();
    CountQueued();
    // The step may take long; who runs and who waits during it is to be seen before its end.
    if (arrived_) core_.Publish();
    core_.RunStep();
    PublishAndTell();
  }
  for (auto& job : score_jobs_) job->done.set_value(absl::UnavailableError("the engine stopped"));
  core_.FinishAll(MakeError(absl::StatusCode::kUnavailable, "DRAINING", "the server shut down"));
  PublishAndTell();
}

// Moves what other threads posted into the engine thread's own lists. Sleeps while there is nothing
// to do (a request that waits can be admitted as soon as none runs, so then there is something).
bool Scheduler::TakePosted() {
  std::unique_lock lock(mutex_);
  if (core_.idle()) {
    posted_.wait(lock, [this] {
      return stop_ || cancel_all_ || posted_slo_ || !posted_requests_.empty() ||
             !posted_cancels_.empty() || !posted_scores_.empty();
    });
  }
  if (posted_slo_) core_.SetSlo(std::exchange(posted_slo_, nullptr));
  arrived_ = !posted_requests_.empty();
  for (auto& request : posted_requests_) core_.Enqueue(std::move(request));
  posted_requests_.clear();
  cancelled_.swap(posted_cancels_);
  posted_cancels_.clear();
  for (auto& job : posted_scores_) score_jobs_.push_back(std::move(job));
  posted_scores_.clear();
  const bool cancel_all = std::exchange(cancel_all_, false);
  const bool stop = stop_;
  lock.unlock();
  if (cancel_all) {
    core_.FinishAll(MakeError(absl::StatusCode::kUnavailable, "DRAINING",
                              "the server shut down before the request ended"));
  }
  return !stop;
}

void Scheduler::RunScores() {
  for (auto& job : score_jobs_) job->done.set_value(RunScore(job->input));
  score_jobs_.clear();
}

absl::Status Scheduler::RunScore(const ScoreInput& input) {
  KVP_ASSIGN_OR_RETURN(auto format, core_.formats().Get(input.config));
  std::shared_ptr<const CacheFormat> later_format;
  if (input.options.requantize_at >= 0) {
    KVP_ASSIGN_OR_RETURN(later_format, core_.formats().Get(input.options.requantize_to));
  }
  return ScoreRun(input, std::move(format), std::move(later_format), transformer_, arena_).Run();
}

void Scheduler::CountQueued() {
  std::lock_guard lock(mutex_);
  queued_ = CountByClass(core_.waiting());
  for (const auto& [label, count] : CountByClass(posted_requests_)) queued_[label] += count;
  retry_after_ = core_.RetryAfter(0);
  admission_ = core_.admission();
}

void Scheduler::PublishAndTell() {
  core_.Publish();
  const std::vector<FinishedRequest> finished = core_.TakeFinished();
  if (finished.empty()) return;
  for (const FinishedRequest& entry : finished) {
    entry.request->sink->OnFinish(entry.status, entry.usage);
  }
  std::lock_guard lock(mutex_);
  inside_ -= finished.size();
  if (inside_ == 0) idle_.notify_all();
}

}  // namespace kvpareto
