#include "engine/scheduler/drain_rate.h"

#include <algorithm>
#include <cmath>

namespace kvpareto {
namespace {

using std::chrono::milliseconds;

// Long enough to see several requests end, short enough to follow a change of load.
constexpr double kMemorySeconds = 10.0;
constexpr milliseconds kUnknown{1'000};
constexpr milliseconds kShortest{100};
constexpr milliseconds kLongest{60'000};

}  // namespace

double DrainRate::Decayed(TimePoint now) const {
  const double seconds = std::chrono::duration<double>(now - last_).count();
  return bytes_ * std::exp(-seconds / kMemorySeconds);
}

void DrainRate::Release(uint64_t bytes, TimePoint now) {
  bytes_ = Decayed(now) + static_cast<double>(bytes);
  last_ = now;
}

double DrainRate::BytesPerSecond(TimePoint now) const { return Decayed(now) / kMemorySeconds; }

milliseconds DrainRate::TimeFor(uint64_t bytes, TimePoint now) const {
  const double rate = BytesPerSecond(now);
  if (rate < 1.0) return kUnknown;
  const double ms = std::min(1e3 * static_cast<double>(bytes) / rate, 1e3 * kLongest.count());
  return std::clamp(milliseconds(static_cast<int64_t>(ms)), kShortest, kLongest);
}

}  // namespace kvpareto
