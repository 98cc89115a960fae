#include "autotuner/stop.h"

#include <unistd.h>

#include <csignal>

#include "engine/engine.h"

namespace kvpareto::tune {
namespace {

std::atomic<bool> g_stopped = false;
static_assert(std::atomic<bool>::is_always_lock_free, "it is set in a signal handler");

extern "C" void OnStopSignal(int) {
  if (g_stopped.exchange(true)) _exit(130);
  constexpr char kMessage[] = "\nfinishing what is being measured; once more to stop at once\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
}

}  // namespace

const std::atomic<bool>& CatchStopSignals() {
  struct sigaction action {};
  action.sa_handler = OnStopSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return g_stopped;
}

StopCheck::StopCheck(const std::atomic<bool>& stopped, int64_t budget_seconds) : stopped_(stopped) {
  if (budget_seconds > 0) deadline_ = Clock::now() + std::chrono::seconds(budget_seconds);
}

absl::Status StopCheck::Check() const {
  if (stopped_) return MakeError(absl::StatusCode::kCancelled, "STOPPED", "stopped by a signal");
  if (deadline_ && Clock::now() >= *deadline_) {
    return MakeError(absl::StatusCode::kCancelled, "TIME_BUDGET_USED",
                     "the time budget is used up");
  }
  return absl::OkStatus();
}

bool IsStop(const absl::Status& status) {
  const auto info = GetErrorInfo(status);
  return info && (info->reason == "STOPPED" || info->reason == "TIME_BUDGET_USED");
}

}  // namespace kvpareto::tune
