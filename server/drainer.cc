#include "server/drainer.h"

#include <thread>
#include <utility>
#include <vector>

#include "server/log.h"

namespace kvpareto::server {

uint64_t Drainer::Drain(std::chrono::steady_clock::time_point deadline) {
  LogInfo("draining");
  health_->SetDraining();
  std::vector<std::thread> threads;
  for (const auto& [name, engine] : models_->engines()) {
    threads.emplace_back([&engine = *engine, deadline] { engine.Drain(deadline); });
  }
  for (std::thread& thread : threads) thread.join();
  const uint64_t cancelled = counter_->cancelled_by_drain();
  LogInfo("drained", {{"cancelled_requests", cancelled}});
  return cancelled;
}

absl::Status Drainer::DrainInBackground(std::chrono::steady_clock::time_point deadline,
                                        std::function<void(uint64_t cancelled)> done) {
  const bool accepted =
      background_.TryRun([this, deadline, done = std::move(done)] { done(Drain(deadline)); });
  if (accepted) return absl::OkStatus();
  return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_DRAINS",
                   "several calls are waiting for the drain already");
}

}  // namespace kvpareto::server
