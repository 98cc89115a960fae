#include "engine/scheduler/scheduler.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/scheduler/step_planner.h"

namespace kvpareto {

Scheduler::Scheduler(const SchedulerOptions& options, Backend* backend, Transformer* transformer,
                     const Tokenizer* tokenizer, kv::Arena* arena, TransformCache* transforms)
    : options_(options),
      backend_(backend),
      transformer_(transformer),
      tokenizer_(tokenizer),
      arena_(arena),
      transforms_(transforms),
      stats_(transformer->weights().resident_bytes(), transformer->workspace_bytes()),
      formats_(transformer->config(), transforms),
      available_bytes_(arena->stats().capacity_bytes) {
  stats_.Publish(arena_->stats(), transforms_->device_bytes(), running_, waiting_);
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
  if (queued_ >= options_.max_queued_requests) {
    return MakeError(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                     absl::StrCat("the queue holds ", queued_, " requests already"),
                     {{"queued", absl::StrCat(queued_)}});
  }
  const RequestHandle handle{next_handle_++};
  request->handle = handle;
  posted_requests_.push_back(std::move(request));
  ++queued_;
  ++inside_;
  posted_.notify_one();
  return handle;
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
  stats_.SetDraining();
  std::unique_lock lock(mutex_);
  draining_ = true;
  if (idle_.wait_until(lock, deadline, [this] { return inside_ == 0; })) return;
  cancel_all_ = true;
  posted_.notify_one();
  idle_.wait(lock, [this] { return inside_ == 0; });
}

void Scheduler::Run() {
  while (TakePosted()) {
    DropCancelledAndExpired();
    for (auto& job : score_jobs_) job->done.set_value(RunScore(job->input));
    score_jobs_.clear();
    Admit();
    RunStep();
    PublishAndTell();
  }
  for (auto& job : score_jobs_) job->done.set_value(absl::UnavailableError("the engine stopped"));
  FinishAll(MakeError(absl::StatusCode::kUnavailable, "DRAINING", "the server shut down"));
  PublishAndTell();
}

// Moves what other threads posted into the engine thread's own lists. Sleeps while there is nothing
// to do (a request that waits can be admitted as soon as none runs, so then there is something).
bool Scheduler::TakePosted() {
  std::unique_lock lock(mutex_);
  if (running_.empty() && waiting_.empty()) {
    posted_.wait(lock, [this] {
      return stop_ || cancel_all_ || !posted_requests_.empty() || !posted_cancels_.empty() ||
             !posted_scores_.empty();
    });
  }
  for (auto& request : posted_requests_) waiting_.push_back(std::move(request));
  posted_requests_.clear();
  cancelled_.swap(posted_cancels_);
  posted_cancels_.clear();
  for (auto& job : posted_scores_) score_jobs_.push_back(std::move(job));
  posted_scores_.clear();
  const bool cancel_all = std::exchange(cancel_all_, false);
  const bool stop = stop_;
  lock.unlock();
  if (cancel_all) {
    FinishAll(MakeError(absl::StatusCode::kUnavailable, "DRAINING",
                        "the server shut down before the request ended"));
  }
  return !stop;
}

void Scheduler::DropCancelledAndExpired() {
  const auto now = Clock::now();
  const auto verdict = [&](const ActiveRequest& request) {
    if (std::find(cancelled_.begin(), cancelled_.end(), request.handle) != cancelled_.end()) {
      return MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the request was cancelled");
    }
    const auto& deadline = request.prepared.request.deadline;
    if (deadline.has_value() && *deadline <= now) {
      return MakeError(absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED",
                       absl::StrCat("the deadline passed ",
                                    request.admitted ? "while generating" : "in the queue"),
                       {{"generated_tokens", absl::StrCat(MakeUsage(request).generated_tokens)}});
    }
    return absl::OkStatus();
  };
  FinishWhere(waiting_, verdict);
  FinishWhere(running_, verdict);
  cancelled_.clear();
}

void Scheduler::FinishWhere(Requests& requests,
                            const std::function<absl::Status(const ActiveRequest&)>& verdict) {
  std::vector<std::pair<ActiveRequest*, absl::Status>> leaving;
  for (const auto& request : requests) {
    if (absl::Status status = verdict(*request); !status.ok()) {
      leaving.emplace_back(request.get(), std::move(status));
    }
  }
  for (auto& [request, status] : leaving) Finish(request, std::move(status));
}

void Scheduler::FinishAll(const absl::Status& status) {
  for (Requests* requests : {&waiting_, &running_}) {
    FinishWhere(*requests, [&](const ActiveRequest&) { return status; });
  }
}

// Strictly in order of arrival: a small request does not overtake a large one that waits for
// memory.
void Scheduler::Admit() {
  size_t sequences = 0;
  for (const auto& request : running_) sequences += request->sequences.size();
  size_t admitted = 0;
  ActiveRequest* unusable = nullptr;  // its config cannot be resolved
  absl::Status why;
  for (auto& request : waiting_) {
    const PreparedRequest& prepared = request->prepared;
    const int n = prepared.request.num_sequences;
    if (sequences + n > static_cast<size_t>(options_.max_running_sequences)) break;
    const auto format = formats_.Get(prepared.plan.config);
    if (!format.ok()) {
      unusable = request.get();
      why = format.status();
      break;
    }
    if (!arena_->Reserve(prepared.plan.kv_peak_bytes)) {
      // Planning refuses what can never fit, so memory comes free when a running request ends.
      KVP_CHECK(!running_.empty()) << prepared.plan.kv_peak_bytes << " bytes do not fit the arena";
      break;
    }
    sequences += n;
    ++admitted;
    for (int i = 0; i < n; ++i) {
      const SequenceSetup setup{.index = i,
                                .prompt = prepared.prompt_tokens,
                                .sampling = prepared.request.sampling,
                                .stopping = &prepared.request.stopping,
                                .eos_tokens = transformer_->config().eos_tokens,
                                .max_tokens = prepared.max_tokens,
                                .tokenizer = tokenizer_};
      request->sequences.push_back(std::make_unique<Sequence>(setup, *format, arena_));
    }
    request->unfinished = n;
    request->admitted = Clock::now();
    stats_.OnAdmitted(*request);
    running_.push_back(std::move(request));
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + admitted);
  if (admitted > 0) {
    std::lock_guard lock(mutex_);
    queued_ -= static_cast<int>(admitted);
  }
  if (unusable != nullptr) Finish(unusable, std::move(why));
}

// Takes the request out of the engine: its memory is free from here on; its sink is told once the
// statistics say so too.
void Scheduler::Finish(ActiveRequest* request, absl::Status status) {
  const bool was_admitted = request->admitted.has_value();
  Requests& from = was_admitted ? running_ : waiting_;
  const auto it = std::find_if(from.begin(), from.end(),
                               [&](const auto& other) { return other.get() == request; });
  KVP_CHECK(it != from.end()) << "a request finished twice";
  Finished finished{.request = std::move(*it), .status = std::move(status), .usage = {}};
  from.erase(it);
  finished.usage = MakeUsage(*finished.request);
  if (was_admitted) {
    if (finished.status.ok()) ObservePrediction(*finished.request, finished.usage);
    finished.request->sequences.clear();
    arena_->Unreserve(finished.request->prepared.plan.kv_peak_bytes);
    stats_.OnFinished(*finished.request, finished.usage);
  } else {
    std::lock_guard lock(mutex_);
    --queued_;
  }
  finished_.push_back(std::move(finished));
}

// The predictor's error for the tokens that were really stored: a request that stops early takes
// less than its plan, which says nothing about the predictor.
void Scheduler::ObservePrediction(const ActiveRequest& request, const Usage& usage) {
  if (request.prepared.request.num_sequences != 1 || request.peak_bytes == 0) return;
  const KvConfig& config = request.prepared.plan.config;
  // The last generated token is never fed back, so never stored.
  const int64_t stored = usage.prompt_tokens + usage.generated_tokens - 1;
  const size_t predicted =
      kv::PredictPeakBytes(Footprint(config, transformer_->config()), usage.prompt_tokens, stored,
                           config.prefill_chunk_tokens);
  stats_.OnPredictionError((static_cast<double>(predicted) - request.peak_bytes) /
                           request.peak_bytes);
}

Usage Scheduler::MakeUsage(const ActiveRequest& request) const {
  const auto now = Clock::now();
  Usage usage{.prompt_tokens = static_cast<int64_t>(request.prepared.prompt_tokens.size()),
              .generated_tokens = request.generated_tokens,
              .predicted_peak_bytes = request.prepared.plan.predicted_peak_bytes,
              .measured_kv_peak_bytes = request.peak_bytes};
  for (const auto& sequence : request.sequences) {
    if (sequence) usage.generated_tokens += sequence->generated_tokens();
  }
  if (request.peak_bytes > 0) {
    usage.measured_peak_bytes = request.peak_bytes + request.prepared.plan.workspace_bytes;
  }
  Timings& timings = usage.timings;
  timings.total_seconds = Seconds(now - request.submitted);
  timings.queue_seconds = Seconds(request.admitted.value_or(now) - request.submitted);
  if (request.first_token.has_value()) {
    timings.prefill_seconds = Seconds(*request.first_token - *request.admitted);
    timings.time_to_first_token_seconds = Seconds(*request.first_token - request.submitted);
    timings.decode_seconds = Seconds(request.last_token - *request.first_token);
  }
  return usage;
}

void Scheduler::PublishAndTell() {
  const kv::ArenaStats arena = arena_->stats();
  available_bytes_.store(arena.capacity_bytes - arena.reserved_bytes, std::memory_order_relaxed);
  stats_.Publish(arena, transforms_->device_bytes(), running_, waiting_);
  if (finished_.empty()) return;
  for (Finished& finished : finished_) {
    finished.request->sink->OnFinish(finished.status, finished.usage);
  }
  std::lock_guard lock(mutex_);
  inside_ -= static_cast<int>(finished_.size());
  finished_.clear();
  if (inside_ == 0) idle_.notify_all();
}

}  // namespace kvpareto
