#include "engine/scheduler/stats_recorder.h"

#include <utility>

#include "engine/scheduler/histogram.h"

namespace kvpareto {
namespace {

// The histogram of `label`, made with latency buckets on first use.
HistogramSnapshot& Latency(std::map<std::string, HistogramSnapshot>& histograms,
                           const std::string& label) {
  auto [entry, inserted] = histograms.try_emplace(label);
  if (inserted) entry->second = MakeHistogram(LatencyBounds());
  return entry->second;
}

}  // namespace

StatsRecorder::StatsRecorder(uint64_t weights_bytes, uint64_t workspace_bytes,
                             std::function<Clock::time_point()> now)
    : now_(std::move(now)) {
  current_.weights_bytes = weights_bytes;
  current_.workspace_bytes = workspace_bytes;
  current_.prefill_chunk_tokens = MakeHistogram({64, 128, 256, 512, 1024, 2048, 4096});
  current_.plan_prediction_error_ratio =
      MakeHistogram({-0.1, -0.01, 0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.5});
  published_ = current_;
}

void StatsRecorder::OnAdmitted(const ActiveRequest& request) {
  const std::string& label = request.service_class();
  ++current_.plans_total[{label, request.config_label(),
                          std::string(PlanReasonName(request.prepared.plan.reason))}];
  current_.prompt_tokens_total[label] += request.prepared.prompt_tokens.size();
  Observe(Latency(current_.queue_seconds, label), Seconds(*request.admitted - request.submitted));
}

void StatsRecorder::OnFirstToken(const ActiveRequest& request) {
  Observe(Latency(current_.time_to_first_token_seconds, request.service_class()),
          Seconds(*request.first_token - request.submitted));
  ++current_.generated_tokens_total[request.service_class()];
}

void StatsRecorder::OnNextToken(const ActiveRequest& request, double gap_seconds) {
  Observe(Latency(current_.inter_token_seconds, request.service_class()), gap_seconds);
  ++current_.generated_tokens_total[request.service_class()];
}

void StatsRecorder::OnFinished(const ActiveRequest& request, const Usage& usage) {
  Observe(Latency(current_.request_seconds, request.service_class()), usage.timings.total_seconds);
}

void StatsRecorder::OnPredictionError(double ratio) {
  Observe(current_.plan_prediction_error_ratio, ratio);
}

void StatsRecorder::OnStep(int decode_rows, std::span<const int> chunk_tokens, double seconds) {
  ++current_.steps_total;
  const char* kind = chunk_tokens.empty() ? "decode" : decode_rows == 0 ? "prefill" : "mixed";
  Observe(Latency(current_.step_seconds, kind), seconds);
  for (int tokens : chunk_tokens) Observe(current_.prefill_chunk_tokens, tokens);
}

// Of the classes that the SLO lists and those that have been seen.
void StatsRecorder::SetLimits(const Admission& admission) {
  const AdmissionState& state = admission.state();
  current_.limit_bytes.try_emplace(kDefaultClass);
  for (const ClassSlo& c : state.slo->classes) current_.limit_bytes.try_emplace(c.name);
  for (const auto& [label, bytes] : current_.reserved_bytes)
    current_.limit_bytes.try_emplace(label);
  for (auto& [label, bytes] : current_.limit_bytes) bytes = state.ledger.BurstBytes(label);
  for (const auto& [key, count] : admission.actions()) {
    const std::string action(PressureActionName(key.second));
    current_.pressure_actions_total[{key.first, action}] = count;
  }
}

void StatsRecorder::SetRequantized(const RequantizedBytes& bytes) {
  for (const auto& [key, count] : bytes) {
    current_.requantized_bytes_total[{key.first, key.second}] = count;
  }
}

void StatsRecorder::Publish(const kv::ArenaStats& arena, uint64_t transform_bytes,
                            const State& state) {
  current_.transform_bytes = transform_bytes;
  current_.capacity_bytes = arena.capacity_bytes;
  current_.arena_allocated_bytes = arena.allocated_bytes;
  current_.arena_largest_free_bytes = arena.largest_free_bytes;
  current_.arena_moved_bytes_total = arena.moved_bytes_total;
  // Labels that have been seen stay, at zero: a gauge that vanishes looks like a scrape that
  // failed.
  for (auto& [key, bytes] : current_.kv) bytes = KvBytes{};
  for (auto& [label, bytes] : current_.cached_bytes) bytes = 0;
  for (auto& [label, bytes] : current_.reserved_bytes) bytes = 0;
  for (auto& [label, count] : current_.running) count = 0;
  for (auto& [label, count] : current_.waiting) count = 0;
  for (const auto& request : state.running) {
    KvBytes& bytes = current_.kv[{request->service_class(), request->config_label()}];
    for (const auto& sequence : request->sequences) {
      if (!sequence) continue;
      bytes.allocated_bytes += sequence->cache().own_bytes();
      bytes.live_bytes += sequence->cache().own_live_bytes();
      bytes.bf16_bytes += sequence->cache().bf16_bytes();
    }
    current_.reserved_bytes[request->service_class()] += request->reserved_bytes;
    ++current_.running[request->service_class()];
  }
  AddPrefixes(state.sharing);
  for (const auto& request : state.waiting) ++current_.waiting[request->service_class()];
  SetLimits(state.admission);
  std::lock_guard lock(mutex_);
  published_ = current_;
}

// Shared blocks belong to the class that shares them, whoever runs on them.
void StatsRecorder::AddPrefixes(const PrefixSharing& sharing) {
  for (const auto& [key, domain] : sharing.cache().domains()) {
    if (domain->used_bytes > 0) {
      KvBytes& bytes = current_.kv[{key.service_class, domain->config_label}];
      bytes.allocated_bytes += domain->used_bytes;
      bytes.live_bytes += domain->used_bytes;
      current_.reserved_bytes[key.service_class] += domain->used_bytes;
    }
    if (domain->cached_bytes > 0) {
      current_.cached_bytes[domain->config_label] += domain->cached_bytes;
    }
  }
  current_.evicted_bytes_total = sharing.cache().evicted_bytes_total();
  current_.prefix_hit_tokens_total = sharing.counts().hit_tokens;
  current_.prefix_miss_tokens_total = sharing.counts().miss_tokens;
}

EngineStats StatsRecorder::Snapshot() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = published_;
  stats.draining = draining_;
  stats.failure = failure_;
  if (progress_.has_value()) stats.stalled_seconds = Seconds(now_() - *progress_);
  return stats;
}

void StatsRecorder::SetDraining() {
  std::lock_guard lock(mutex_);
  draining_ = true;
}

void StatsRecorder::SetProgress() {
  std::lock_guard lock(mutex_);
  progress_ = now_();
}

void StatsRecorder::SetIdle() {
  std::lock_guard lock(mutex_);
  progress_.reset();
}

void StatsRecorder::SetFailed(const absl::Status& failure) {
  std::lock_guard lock(mutex_);
  failure_ = std::string(failure.message());
}

}  // namespace kvpareto
