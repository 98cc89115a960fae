// An engine that hands everything on and counts how often it is asked to run the model.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

class CountingEngine final : public Engine {
 public:
  // `engine` outlives this.
  explicit CountingEngine(Engine& engine) : engine_(engine) {}

  int scored() const { return scored_; }

  absl::Status Score(std::span<const int32_t> tokens, const KvConfig& config,
                     const ScoreOptions& options, const LogitsFn& on_logits) override {
    ++scored_;
    return engine_.Score(tokens, config, options, on_logits);
  }
  absl::StatusOr<Prepared> Prepare(Request request) const override {
    return engine_.Prepare(std::move(request));
  }
  absl::StatusOr<RequestHandle> Submit(Prepared prepared,
                                       std::shared_ptr<ResponseSink> sink) override {
    return engine_.Submit(std::move(prepared), std::move(sink));
  }
  void Cancel(RequestHandle handle) override { engine_.Cancel(handle); }
  absl::StatusOr<std::vector<int32_t>> Tokenize(const Prompt& prompt) const override {
    return engine_.Tokenize(prompt);
  }
  std::string Detokenize(std::span<const int32_t> tokens) const override {
    return engine_.Detokenize(tokens);
  }
  absl::Status Observe(std::span<const int32_t> tokens, const ObserveFn& observe) override {
    return engine_.Observe(tokens, observe);
  }
  absl::Status VisitAttentionWeights(const AttentionWeightsFn& visit) const override {
    return engine_.VisitAttentionWeights(visit);
  }
  void Drain(std::chrono::steady_clock::time_point deadline) override { engine_.Drain(deadline); }
  absl::Status CheckSlo(const ModelSlo& slo) const override { return engine_.CheckSlo(slo); }
  void SetSlo(const ModelSlo& slo) override { engine_.SetSlo(slo); }
  EngineStats Stats() const override { return engine_.Stats(); }
  const ModelInfo& model() const override { return engine_.model(); }
  const ParetoTable& table() const override { return engine_.table(); }
  uint64_t WorkspaceBytes(int chunk_tokens) const override {
    return engine_.WorkspaceBytes(chunk_tokens);
  }

 private:
  Engine& engine_;
  int scored_ = 0;
};

}  // namespace kvpareto::tune
