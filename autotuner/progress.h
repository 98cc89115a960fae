// What a long measurement tells its user while it runs.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kvpareto::tune {

// Prints to stderr how much of a known amount of work is done, and how long the rest will take at
// the pace so far: one line, rewritten, on a terminal; a line every ten seconds otherwise.
class Progress {
 public:
  // `unit` names the work in the line, e.g. "tokens".
  Progress(std::string unit, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `amount` more is done; `what` says what is being worked on.
  void Advance(int64_t amount, const std::string& what);
  // `amount` of the work turned out not to be needed.
  void Skip(int64_t amount);

 private:
  using Clock = std::chrono::steady_clock;

  const std::string unit_;
  int64_t total_;
  const bool terminal_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point last_print_ = start_;
  int64_t done_ = 0;
};

}  // namespace kvpareto::tune
