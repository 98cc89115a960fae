// Holds an engine at the end of a step, lets it go on step by step, and makes steps fail.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

#include "engine/engine.h"
#include "tests/support/forwarding_backend.h"

namespace kvpareto::support {

// Open at first. Steps are numbered from 1 since it was closed.
class StepGate {
 public:
  // Every step from now on stops at its end.
  void Close() {
    const std::lock_guard lock(mutex_);
    open_ = false;
    reached_ = allowed_ = 0;
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // Lets all steps before the n-th go and waits for that one. False: it does not come.
  bool RunTo(int n) {
    std::unique_lock lock(mutex_);
    allowed_ = n - 1;
    changed_.notify_all();
    return changed_.wait_for(lock, kPatience, [&] { return reached_ >= n; });
  }
  // Lets the step that is held go.
  void Release() {
    const std::lock_guard lock(mutex_);
    allowed_ = reached_;
    changed_.notify_all();
  }
  // The step that is held, or the next one, ends with `fault`.
  void Fail(absl::Status fault) {
    const std::lock_guard lock(mutex_);
    fault_ = std::move(fault);
  }

  // Engine thread.
  absl::Status Pass() {
    std::unique_lock lock(mutex_);
    ++reached_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_ || reached_ <= allowed_; });
    return std::exchange(fault_, absl::OkStatus());
  }

 private:
  static constexpr auto kPatience = std::chrono::seconds(20);

  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int reached_ = 0, allowed_ = 0;
  absl::Status fault_;
};

class GatedBackend final : public ForwardingBackend {
 public:
  GatedBackend(std::unique_ptr<Backend> backend, std::shared_ptr<StepGate> gate)
      : ForwardingBackend(std::move(backend)), gate_(std::move(gate)) {}

  // A step begins with its tokens' embeddings, and may wait for the device more than once.
  void Embed(const Weight& table, std::span<const int32_t> ids, Activations y) override {
    begun_ = true;
    backend().Embed(table, ids, y);
  }
  absl::Status Synchronize() override {
    if (std::exchange(begun_, false)) KVP_RETURN_IF_ERROR(gate_->Pass());
    return backend().Synchronize();
  }

 private:
  const std::shared_ptr<StepGate> gate_;
  bool begun_ = false;
};

inline EngineHooks GatedBy(std::shared_ptr<StepGate> gate) {
  return {.wrap_backend = [gate = std::move(gate)](std::unique_ptr<Backend> backend) {
    return std::make_unique<GatedBackend>(std::move(backend), gate);
  }};
}

}  // namespace kvpareto::support
