// When a request of the Open Inference Protocol has to be answered.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

#include "server/convert_request.h"
#include "server/generation.h"

namespace kvpareto::server::oip {

// The earlier of the call's deadline and the request's own timeout.
inline Generation::Deadline EarlierDeadline(gpr_timespec call,
                                            std::optional<std::chrono::microseconds> timeout) {
  const Generation::Deadline deadline = ToDeadline(call);
  if (!timeout.has_value()) return deadline;
  const auto own = std::chrono::steady_clock::now() + *timeout;
  return deadline.has_value() ? std::min(*deadline, own) : own;
}

}  // namespace kvpareto::server::oip
