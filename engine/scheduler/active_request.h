// A request inside the engine, from Submit to OnFinish.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/scheduler/sequence.h"

namespace kvpareto {

using Clock = std::chrono::steady_clock;

inline double Seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

struct ActiveRequest {
  RequestHandle handle{};
  PreparedRequest prepared;
  std::shared_ptr<ResponseSink> sink;

  Clock::time_point submitted;
  // When its class's wait in the queue is over; unset: as long as its deadline allows.
  std::optional<Clock::time_point> wait_until;
  std::optional<Clock::time_point> admitted;
  std::optional<Clock::time_point> first_token;
  Clock::time_point last_token;

  std::vector<std::unique_ptr<Sequence>> sequences;  // null once finished
  int unfinished = 0;
  // Promised by the arena while it runs; what it shares is promised to the prefix cache.
  uint64_t reserved_bytes = 0;
  PrefixNode* pinned_prefix = nullptr;  // while it is being admitted (PrefixSharing::Pin)
  int64_t cached_prompt_tokens = 0;     // that the first sequence found in the prefix cache
  int64_t generated_tokens = 0;         // of finished sequences
  uint64_t peak_bytes = 0;              // measured, all sequences at once

  std::string requantized_from;    // label of its last config but one; empty: it has had one
  uint64_t requantized_bytes = 0;  // of its blocks, before re-encoding

  // When it leaves the queue if it has not been admitted.
  Clock::time_point expiry() const {
    return std::min(wait_until.value_or(Clock::time_point::max()),
                    prepared.request.deadline.value_or(Clock::time_point::max()));
  }
  uint64_t smallest_kv_bytes() const { return prepared.alternatives.back().kv_peak_bytes; }
  const std::string& service_class() const { return prepared.request.service_class; }
  std::string config_label() const {
    return prepared.plan.row_name.empty() ? "pinned" : prepared.plan.row_name;
  }
};

}  // namespace kvpareto
