#include "autotuner/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace kvpareto::tune {
namespace {

std::string Duration(double seconds) {
  const auto total = static_cast<int64_t>(seconds + 0.5);
  if (total < 60) return std::to_string(total) + " s";
  return std::to_string(total / 60) + " min " + std::to_string(total % 60) + " s";
}

}  // namespace

Progress::Progress(std::string unit, int64_t total)
    : unit_(std::move(unit)), total_(total), terminal_(::isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (terminal_ && done_ > 0) std::fputc('\n', stderr);
}

void Progress::Skip(int64_t amount) { total_ = std::max(done_, total_ - amount); }

void Progress::Advance(int64_t amount, const std::string& what) {
  done_ += amount;
  const Clock::time_point now = Clock::now();
  const double interval = terminal_ ? 0.2 : 10.0;
  const bool last = done_ >= total_;
  if (!last && std::chrono::duration<double>(now - last_print_).count() < interval) return;
  last_print_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double remaining =
      elapsed * static_cast<double>(total_ - done_) / static_cast<double>(done_);
  const std::string eta = last ? "done in " + Duration(elapsed) : Duration(remaining) + " left";
  std::fprintf(stderr, "%s%3d%% of %lld %s, %s: %s%s", terminal_ ? "\r\033[K" : "",
               static_cast<int>(total_ > 0 ? 100 * done_ / total_ : 100),
               static_cast<long long>(total_), unit_.c_str(), eta.c_str(), what.c_str(),
               terminal_ ? "" : "\n");
}

}  // namespace kvpareto::tune
