#include "engine/scheduler/scheduler_core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/scheduler/retry.h"

namespace kvpareto {

namespace {

// Context at which a token's attention takes as many multiplications as its linear layers.
double AttentionTokens(const ModelConfig& model) {
  const double q = double{1} * model.heads * model.head_dim;
  const double kv = double{1} * model.kv_heads * model.head_dim;
  return model.hidden * (2 * q + 2 * kv + 3.0 * model.ffn) / (2 * q);
}

}  // namespace

SchedulerCore::SchedulerCore(const SchedulerOptions& options, const SchedulerParts& parts)
    : options_(options),
      parts_(parts),
      stats_(parts.weights_bytes, parts.workspace_bytes, parts.now),
      formats_(*parts.model, parts.transforms),
      sharing_({.max_cached_bytes = options.prefix_cache_bytes,
                .attention_tokens = AttentionTokens(*parts.model)},
               parts.arena),
      requantizer_(&formats_, parts.executor, parts.arena),
      admission_({.arena = parts.arena,
                  .sharing = &sharing_,
                  .requantizer = &requantizer_,
                  .running = &running_,
                  .max_running_sequences = options.max_running_sequences}) {
  Publish();
}

void SchedulerCore::DropCancelledAndExpired(std::span<const RequestHandle> cancelled) {
  const auto now = parts_.now();
  const auto verdict = [&](const ActiveRequest& request) {
    if (std::find(cancelled.begin(), cancelled.end(), request.handle) != cancelled.end()) {
      return MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the request was cancelled");
    }
    if (!request.admitted && request.wait_until && *request.wait_until <= now) {
      return TryAgain("QUEUE_TIMEOUT", "the request waited as long as its class allows",
                      RetryAfter(request.smallest_kv_bytes()));
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
}

void SchedulerCore::FinishWhere(Requests& requests,
                                const std::function<absl::Status(const ActiveRequest&)>& verdict) {
  std::vector<std::pair<ActiveRequest*, absl::Status>> leaving;
  for (const auto& request : requests) {
    if (absl::Status status = verdict(*request); !status.ok()) {
      leaving.emplace_back(request.get(), std::move(status));
    }
  }
  for (auto& [request, status] : leaving) Finish(request, std::move(status));
}

void SchedulerCore::FinishAll(const absl::Status& status) {
  for (Requests* requests : {&waiting_, &running_}) {
    FinishWhere(*requests, [&](const ActiveRequest&) { return status; });
  }
}

void SchedulerCore::Finish(ActiveRequest* request, absl::Status status) {
  const bool was_admitted = request->admitted.has_value();
  Requests& from = was_admitted ? running_ : waiting_;
  const auto it = std::find_if(from.begin(), from.end(),
                               [&](const auto& other) { return other.get() == request; });
  KVP_CHECK(it != from.end()) << "a request finished twice";
  FinishedRequest finished{.request = std::move(*it), .status = std::move(status), .usage = {}};
  from.erase(it);
  finished.usage = MakeUsage(*finished.request);
  if (was_admitted) {
    if (finished.status.ok()) ObservePrediction(*finished.request, finished.usage);
    finished.request->sequences.clear();
    parts_.arena->Unreserve(finished.request->reserved_bytes);
    drain_rate_.Release(finished.request->reserved_bytes, parts_.now());
    stats_.OnFinished(*finished.request, finished.usage);
  }
  stats_.SetProgress();
  finished_.push_back(std::move(finished));
}

// The predictor's error for the tokens that were really stored: a request that stops early takes
// less than its plan, which says nothing about the predictor.
void SchedulerCore::ObservePrediction(const ActiveRequest& request, const Usage& usage) {
  if (request.prepared.request.num_sequences != 1 || request.peak_bytes == 0) return;
  // Nor does one that skipped steps, or changed its config.
  if (usage.cached_prompt_tokens > 0 || request.requantized_bytes > 0) return;
  const KvConfig& config = request.prepared.plan.config;
  // The last generated token is never fed back, so never stored.
  const int64_t stored = usage.prompt_tokens + usage.generated_tokens - 1;
  const size_t predicted = kv::PredictPeakBytes(
      Footprint(config, *parts_.model), usage.prompt_tokens, stored, config.prefill_chunk_tokens);
  stats_.OnPredictionError((static_cast<double>(predicted) - request.peak_bytes) /
                           request.peak_bytes);
}

Usage SchedulerCore::MakeUsage(const ActiveRequest& request) const {
  const auto now = parts_.now();
  Usage usage{.prompt_tokens = static_cast<int64_t>(request.prepared.prompt_tokens.size()),
              .cached_prompt_tokens = request.cached_prompt_tokens,
              .generated_tokens = request.generated_tokens,
              .predicted_peak_bytes = request.prepared.plan.predicted_peak_bytes,
              .measured_kv_peak_bytes = request.peak_bytes};
  for (const auto& sequence : request.sequences) {
    if (sequence) usage.generated_tokens += sequence->generated_tokens();
  }
  if (request.peak_bytes > 0) {
    usage.measured_peak_bytes = request.peak_bytes + request.prepared.plan.workspace_bytes;
  }
  usage.requantized_bytes = request.requantized_bytes;
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

void SchedulerCore::Publish() {
  if (idle()) stats_.SetIdle();
  sharing_.cache().Trim();
  stats_.SetRequantized(requantizer_.bytes_total());
  const uint64_t transform_bytes = parts_.transforms ? parts_.transforms->device_bytes() : 0;
  stats_.Publish(
      parts_.arena->stats(), transform_bytes,
      {.running = running_, .waiting = waiting_, .admission = admission_, .sharing = sharing_});
}

}  // namespace kvpareto
