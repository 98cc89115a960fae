// A request inside the engine, from Submit to OnFinish.
#pragma once

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
  std::optional<Clock::time_point> admitted;
  std::optional<Clock::time_point> first_token;
  Clock::time_point last_token;

  std::vector<std::unique_ptr<Sequence>> sequences;  // null once finished
  int unfinished = 0;
  uint64_t reserved_bytes = 0;   // promised by the arena while it runs
  int64_t generated_tokens = 0;  // of finished sequences
  uint64_t peak_bytes = 0;       // measured, all sequences at once

  const std::string& service_class() const { return prepared.request.service_class; }
  std::string config_label() const {
    return prepared.plan.row_name.empty() ? "pinned" : prepared.plan.row_name;
  }
};

}  // namespace kvpareto
