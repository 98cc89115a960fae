// When a long run is to end early: at a signal, or when its time is used up.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace kvpareto::tune {

// From here on the first SIGINT or SIGTERM sets the flag that is returned and says so on stderr;
// the second one ends the process at once, with status 130.
const std::atomic<bool>& CatchStopSignals();

// Asked before each measurement.
class StopCheck {
 public:
  // `stopped` outlives this. budget_seconds 0: no bound.
  StopCheck(const std::atomic<bool>& stopped, int64_t budget_seconds);

  // Errors: CANCELLED (STOPPED) after a signal; CANCELLED (TIME_BUDGET_USED).
  absl::Status Check() const;
  const std::atomic<bool>& stopped() const { return stopped_; }

 private:
  using Clock = std::chrono::steady_clock;

  const std::atomic<bool>& stopped_;
  std::optional<Clock::time_point> deadline_;
};

// Whether a status came from a StopCheck, so that what was measured until then is to be kept.
bool IsStop(const absl::Status& status);

}  // namespace kvpareto::tune
