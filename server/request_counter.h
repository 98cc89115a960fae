// Counts finished Generate requests by model, class and gRPC code.
#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace kvpareto::server {

class RequestCounter {
 public:
  struct Key {
    std::string model;          // a configured name, or kUnknown
    std::string service_class;  // a configured name, or kUnknown
    std::string code;           // "OK", "INVALID_ARGUMENT", ...
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  // What a client named and the server does not have: its own words never become a label.
  static constexpr char kUnknown[] = "unknown";

  void Count(const Key& key) {
    const std::lock_guard lock(mutex_);
    ++counts_[key];
  }
  // A request that the engine had accepted and then ended because of a drain.
  void CountCancelledByDrain() { ++cancelled_by_drain_; }
  uint64_t cancelled_by_drain() const { return cancelled_by_drain_; }

  std::map<Key, uint64_t> Snapshot() const {
    const std::lock_guard lock(mutex_);
    return counts_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<Key, uint64_t> counts_;
  std::atomic<uint64_t> cancelled_by_drain_{0};
};

}  // namespace kvpareto::server
