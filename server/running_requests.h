// The requests that run or wait, for the status page.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace kvpareto::server {

// What was decided at the start, and the progress since.
struct RunningRequest {
  std::string request_id;
  std::string model;
  std::string service_class;
  std::string config;  // name of the KV config
  uint64_t predicted_peak_bytes = 0;
  int64_t prompt_tokens = 0;
  int64_t max_tokens = 0;  // of all sequences
  std::chrono::steady_clock::time_point start;
  bool admitted = false;  // else it waits for memory
  int64_t generated_tokens = 0;
};

// Thread-safe.
class RunningRequests {
 public:
  void Add(const std::shared_ptr<RunningRequest>& request) {
    const std::lock_guard lock(mutex_);
    requests_.insert(request);
  }
  template <typename Change>
  void Update(const std::shared_ptr<RunningRequest>& request, const Change& change) {
    const std::lock_guard lock(mutex_);
    change(request.get());
  }
  void Remove(const std::shared_ptr<RunningRequest>& request) {
    const std::lock_guard lock(mutex_);
    requests_.erase(request);
  }
  // The oldest first.
  std::vector<RunningRequest> Snapshot() const {
    std::vector<RunningRequest> all;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& request : requests_) all.push_back(*request);
    }
    std::sort(all.begin(), all.end(),
              [](const auto& a, const auto& b) { return a.start < b.start; });
    return all;
  }

 private:
  mutable std::mutex mutex_;
  std::set<std::shared_ptr<RunningRequest>> requests_;
};

}  // namespace kvpareto::server
