// An engine that tells what has reached it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "engine/engine.h"

namespace kvpareto::reliability {

// Outlives the engine that counts into it.
class EngineCalls {
 public:
  void CountSubmit() { Count(submits_); }
  void CountCancel() { Count(cancels_); }
  // False: they do not come.
  bool WaitForSubmits(int n) { return WaitFor(submits_, n); }
  bool WaitForCancels(int n) { return WaitFor(cancels_, n); }

 private:
  void Count(int& calls) {
    const std::lock_guard lock(mutex_);
    ++calls;
    changed_.notify_all();
  }
  bool WaitFor(const int& calls, int n) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return calls >= n; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int submits_ = 0, cancels_ = 0;
};

class WatchedEngine final : public Engine {
 public:
  WatchedEngine(std::unique_ptr<Engine> engine, std::shared_ptr<EngineCalls> calls)
      : engine_(std::move(engine)), calls_(std::move(calls)) {}

  absl::StatusOr<RequestHandle> Submit(Prepared prepared,
                                       std::shared_ptr<ResponseSink> sink) override {
    auto handle = engine_->Submit(std::move(prepared), std::move(sink));
    calls_->CountSubmit();
    return handle;
  }
  void Cancel(RequestHandle handle) override {
    engine_->Cancel(handle);
    calls_->CountCancel();
  }

  absl::StatusOr<Prepared> Prepare(Request request) const override {
    return engine_->Prepare(std::move(request));
  }
  absl::StatusOr<std::vector<int32_t>> Tokenize(const Prompt& prompt) const override {
    return engine_->Tokenize(prompt);
  }
  std::string Detokenize(std::span<const int32_t> tokens) const override {
    return engine_->Detokenize(tokens);
  }
  absl::Status Score(std::span<const int32_t> tokens, const KvConfig& config,
                     const ScoreOptions& options, const LogitsFn& on_logits) override {
    return engine_->Score(tokens, config, options, on_logits);
  }
  absl::Status Observe(std::span<const int32_t> tokens, const ObserveFn& observe) override {
    return engine_->Observe(tokens, observe);
  }
  absl::Status VisitAttentionWeights(const AttentionWeightsFn& visit) const override {
    return engine_->VisitAttentionWeights(visit);
  }
  void Drain(std::chrono::steady_clock::time_point deadline) override { engine_->Drain(deadline); }
  absl::Status CheckSlo(const ModelSlo& slo) const override { return engine_->CheckSlo(slo); }
  void SetSlo(const ModelSlo& slo) override { engine_->SetSlo(slo); }
  EngineStats Stats() const override { return engine_->Stats(); }
  const ModelInfo& model() const override { return engine_->model(); }
  const ParetoTable& table() const override { return engine_->table(); }
  uint64_t WorkspaceBytes(int chunk_tokens) const override {
    return engine_->WorkspaceBytes(chunk_tokens);
  }

 private:
  const std::unique_ptr<Engine> engine_;
  const std::shared_ptr<EngineCalls> calls_;
};

}  // namespace kvpareto::reliability
