// Drains every engine of this server at once.
#pragma once

#include <chrono>
#include <functional>

#include "server/health.h"
#include "server/models.h"
#include "server/request_counter.h"
#include "server/status.h"
#include "server/worker_pool.h"

namespace kvpareto::server {

class Drainer {
 public:
  // All outlive the drainer.
  Drainer(const Models* models, Health* health, const RequestCounter* counter)
      : models_(models), health_(health), counter_(counter), background_(kThreads, kMaxWaiting) {}

  // Health NOT_SERVING and no new requests at once; returns when the running ones have finished or
  // `deadline` has passed and the rest are cancelled. Any thread; of several calls the earliest
  // deadline counts. Returns how many requests draining has cancelled so far.
  uint64_t Drain(std::chrono::steady_clock::time_point deadline);

  // The same on a thread of its own, which calls `done` with the result. Errors: RESOURCE_EXHAUSTED
  // (TOO_MANY_DRAINS).
  absl::Status DrainInBackground(std::chrono::steady_clock::time_point deadline,
                                 std::function<void(uint64_t cancelled)> done);

 private:
  static constexpr int kThreads = 4;
  static constexpr size_t kMaxWaiting = 16;

  const Models* const models_;
  Health* const health_;
  const RequestCounter* const counter_;
  WorkerPool background_;
};

}  // namespace kvpareto::server
