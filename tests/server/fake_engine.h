// An engine whose requests the test itself runs: exact control of what comes when.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::server {

class FakeEngine final : public Engine {
 public:
  static constexpr uint64_t kCapacityBytes = 1 << 20;

  FakeEngine() {
    info_.config.name = "fake";
    info_.config.context_tokens = 1000;
    info_.config.layers = 2;
    info_.config.kv_heads = 1;
    info_.config.head_dim = 64;
    info_.fingerprint = "f00d";
    info_.backend = "fake";
    table_.rows.push_back({.name = "bf16",
                           .config = KvConfig::Bf16(),
                           .bytes_per_token = 512,
                           .fixed_bytes = 0,
                           .workspace_bytes = 7,
                           .accuracy = {{.max_context_tokens = 1000}},
                           .speed = {}});
  }

  // What the next calls answer.
  void set_prepare_error(absl::Status status) {
    Set([&] { prepare_error_ = status; });
  }
  void set_submit_error(absl::Status status) {
    Set([&] { submit_error_ = status; });
  }
  void set_stats(EngineStats stats) {
    Set([&] { stats_ = std::move(stats); });
  }

  // Waits until the n-th request (from 1) has been submitted.
  std::shared_ptr<ResponseSink> WaitForSubmit(uint64_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return sinks_.contains(n); });
    return sinks_[n];
  }
  void WaitForCancel(uint64_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return cancelled_.contains(n); });
  }
  bool cancelled(uint64_t n) const {
    const std::lock_guard lock(mutex_);
    return cancelled_.contains(n);
  }
  Request request(uint64_t n) const {
    const std::lock_guard lock(mutex_);
    return requests_.at(n);
  }
  void Emit(uint64_t n, const std::string& text, std::vector<SampledToken> tokens = {}) {
    WaitForSubmit(n)->OnDelta(
        {.sequence = 0, .text = text, .tokens = std::move(tokens), .finish_reason = {}});
  }
  // Ends the request; OK ends it with a last, empty delta.
  void End(uint64_t n, const absl::Status& status, Usage usage = {}) {
    if (status.ok()) {
      WaitForSubmit(n)->OnDelta(
          {.sequence = 0, .text = "", .tokens = {}, .finish_reason = FinishReason::kStop});
    }
    Finish(n, status, usage);
  }
  void Finish(uint64_t n, const absl::Status& status, Usage usage = {}) {
    const std::shared_ptr<ResponseSink> sink = WaitForSubmit(n);
    Set([&] {
      sinks_.erase(n);
    });  // before the client sees the end, after which draining may begin
    sink->OnFinish(status, usage);
  }

  absl::StatusOr<Prepared> Prepare(Request request) const override {
    const std::lock_guard lock(mutex_);
    if (!prepare_error_.ok()) return prepare_error_;
    Prepared prepared;
    KVP_ASSIGN_OR_RETURN(prepared.prompt_tokens, Tokenize(request.prompt));
    prepared.max_tokens = request.stopping.max_tokens == 0 ? 16 : request.stopping.max_tokens;
    prepared.plan.row_name = "bf16";
    prepared.plan.config = KvConfig::Bf16();
    prepared.plan.kv_peak_bytes = 1000;
    prepared.plan.workspace_bytes = 7;
    prepared.plan.predicted_peak_bytes = 1007;
    prepared.plan.explanation = "the fake's only config";
    prepared.request = std::move(request);
    return prepared;
  }
  absl::StatusOr<RequestHandle> Submit(Prepared prepared,
                                       std::shared_ptr<ResponseSink> sink) override {
    const std::lock_guard lock(mutex_);
    if (!submit_error_.ok()) return submit_error_;
    if (stats_.draining) return Draining();
    const uint64_t n = ++submitted_;
    requests_[n] = std::move(prepared.request);
    sinks_[n] = std::move(sink);
    changed_.notify_all();
    return RequestHandle{n};
  }
  void Cancel(RequestHandle handle) override {
    Set([&] { cancelled_.insert(static_cast<uint64_t>(handle)); });
  }
  // One token per byte.
  absl::StatusOr<std::vector<int32_t>> Tokenize(const Prompt& prompt) const override {
    if (const auto* text = std::get_if<std::string>(&prompt)) {
      return std::vector<int32_t>(text->begin(), text->end());
    }
    return std::vector<int32_t>{1, 2, 3};
  }
  std::string Detokenize(std::span<const int32_t> tokens) const override {
    return std::string(tokens.begin(), tokens.end());
  }
  absl::Status Score(std::span<const int32_t>, const KvConfig&, const ScoreOptions&,
                     const LogitsFn&) override {
    return absl::UnimplementedError("not in the fake");
  }
  absl::Status Observe(std::span<const int32_t>, const ObserveFn&) override {
    return absl::UnimplementedError("not in the fake");
  }
  absl::Status VisitAttentionWeights(const AttentionWeightsFn&) const override {
    return absl::UnimplementedError("not in the fake");
  }
  void Drain(std::chrono::steady_clock::time_point deadline) override {
    std::map<uint64_t, std::shared_ptr<ResponseSink>> rest;
    {
      std::unique_lock lock(mutex_);
      stats_.draining = true;
      changed_.notify_all();
      changed_.wait_until(lock, deadline, [&] { return sinks_.empty(); });
      rest.swap(sinks_);
    }
    for (const auto& [n, sink] : rest) sink->OnFinish(Draining(), Usage{});
  }
  absl::Status CheckSlo(const ModelSlo& slo) const override {
    return kvpareto::CheckSlo(slo, table_, kCapacityBytes);
  }
  void SetSlo(const ModelSlo& slo) override {
    const std::lock_guard lock(mutex_);
    slo_ = slo;
  }
  std::optional<ModelSlo> slo() const {
    const std::lock_guard lock(mutex_);
    return slo_;
  }
  EngineStats Stats() const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  const ModelInfo& model() const override { return info_; }
  const ParetoTable& table() const override { return table_; }
  uint64_t WorkspaceBytes(int) const override { return 7; }

 private:
  static absl::Status Draining() {
    return MakeError(absl::StatusCode::kUnavailable, "DRAINING", "the fake is draining");
  }
  template <typename Change>
  void Set(const Change& change) {
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status prepare_error_;
  absl::Status submit_error_;
  EngineStats stats_;
  std::optional<ModelSlo> slo_;
  uint64_t submitted_ = 0;
  std::map<uint64_t, std::shared_ptr<ResponseSink>> sinks_;
  std::map<uint64_t, Request> requests_;
  std::set<uint64_t> cancelled_;
  ModelInfo info_;
  ParetoTable table_;
};

}  // namespace kvpareto::server
