// How fast running requests give their memory back: what a refused client should wait for.
#pragma once

#include <chrono>
#include <cstdint>

namespace kvpareto {

// An exponentially decaying average. Times do not go back.
class DrainRate {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  void Release(uint64_t bytes, TimePoint now);
  double BytesPerSecond(TimePoint now) const;
  // When `bytes` will have been given back, at this rate: 0.1 s to 60 s; 1 s while nothing is
  // known.
  std::chrono::milliseconds TimeFor(uint64_t bytes, TimePoint now) const;

 private:
  double Decayed(TimePoint now) const;

  double bytes_ = 0.0;  // decayed to last_
  TimePoint last_{};
};

}  // namespace kvpareto
