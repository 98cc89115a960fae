// A real engine on a tiny random model, and a sink that collects what a request produces.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto {

// What a request produced. Wait() returns when OnFinish has been called.
class Collector : public ResponseSink {
 public:
  void OnDelta(Delta delta) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(finished_) << "a delta after OnFinish";
    if (static_cast<int>(tokens_.size()) <= delta.sequence) {
      tokens_.resize(delta.sequence + 1);
      texts_.resize(delta.sequence + 1);
    }
    for (const SampledToken& token : delta.tokens) tokens_[delta.sequence].push_back(token.token);
    texts_[delta.sequence] += delta.text;
    if (delta.finish_reason) reasons_.push_back(*delta.finish_reason);
    ++deltas_;
    changed_.notify_all();
  }
  void OnFinish(const absl::Status& status, const Usage& usage) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(finished_) << "OnFinish twice";
    finished_ = true;
    status_ = status;
    usage_ = usage;
    changed_.notify_all();
  }

  absl::Status Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return finished_; });
    return status_;
  }
  void WaitForDeltas(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return finished_ || deltas_ >= count; });
  }
  std::vector<int32_t> tokens(int sequence = 0) {
    std::lock_guard lock(mutex_);
    return sequence < static_cast<int>(tokens_.size()) ? tokens_[sequence] : std::vector<int32_t>();
  }
  std::string text(int sequence = 0) {
    std::lock_guard lock(mutex_);
    return sequence < static_cast<int>(texts_.size()) ? texts_[sequence] : "";
  }
  std::vector<FinishReason> reasons() {
    std::lock_guard lock(mutex_);
    return reasons_;
  }
  Usage usage() {
    std::lock_guard lock(mutex_);
    return usage_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<int32_t>> tokens_;
  std::vector<std::string> texts_;
  std::vector<FinishReason> reasons_;
  int deltas_ = 0;
  bool finished_ = false;
  absl::Status status_;
  Usage usage_;
};

class EngineTest : public ::testing::Test {
 protected:
  static constexpr int kContext = 2048;

  EngineTest() {
    support::WriteGguf(support::MakeTinyModel({.layers = 2,
                                               .hidden = 128,
                                               .heads = 4,
                                               .kv_heads = 2,
                                               .head_dim = 64,
                                               .ffn = 128,
                                               .context_tokens = kContext,
                                               .seed = 3}),
                       dir_.File("model.gguf"));
    options_.model_path = dir_.File("model.gguf");
    options_.kv_capacity_bytes = uint64_t{64} << 20;
    options_.threads = 2;
    options_.device = "cpu";  // tests/cuda has what is compared with other devices
  }

  void Start() {
    auto engine = Engine::Create(options_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  // A prompt of `tokens` pseudo-random byte tokens.
  static std::vector<int32_t> Tokens(int tokens, int seed) {
    std::vector<int32_t> result(tokens);
    uint32_t state = 12345u + seed;
    for (int32_t& token : result) {
      state = state * 1664525u + 1013904223u;
      token = support::kFirstByte + static_cast<int32_t>((state >> 16) % 256);
    }
    return result;
  }

  static Request Greedy(int prompt_tokens, int max_tokens, const std::string& config,
                        int seed = 0) {
    Request request;
    request.prompt = Tokens(prompt_tokens, seed);
    request.stopping.max_tokens = max_tokens;
    request.stopping.ignore_eos = true;
    request.kv.pinned_config = config;
    return request;
  }

  // Submits; the request must be accepted.
  std::shared_ptr<Collector> Submit(Request request, RequestHandle* handle = nullptr) {
    auto sink = std::make_shared<Collector>();
    auto prepared = engine_->Prepare(std::move(request));
    EXPECT_TRUE(prepared.ok()) << prepared.status();
    if (!prepared.ok()) return nullptr;
    auto submitted = engine_->Submit(*std::move(prepared), sink);
    EXPECT_TRUE(submitted.ok()) << submitted.status();
    if (handle != nullptr && submitted.ok()) *handle = *submitted;
    return sink;
  }

  std::vector<int32_t> Run(Request request) {
    const auto sink = Submit(std::move(request));
    const absl::Status status = sink->Wait();
    EXPECT_TRUE(status.ok()) << status;
    return sink->tokens();
  }

  static std::string Reason(const absl::Status& status) {
    const auto info = GetErrorInfo(status);
    return info ? info->reason : "";
  }

  support::TempDir dir_;
  EngineOptions options_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace kvpareto
