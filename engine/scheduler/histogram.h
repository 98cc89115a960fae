// A histogram with fixed bounds, for EngineStats.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/stats.h"

namespace kvpareto {

inline HistogramSnapshot MakeHistogram(std::vector<double> upper_bounds) {
  HistogramSnapshot histogram{.upper_bounds = std::move(upper_bounds)};
  histogram.counts.assign(histogram.upper_bounds.size() + 1, 0);
  return histogram;
}

inline void Observe(HistogramSnapshot& histogram, double value) {
  const auto& bounds = histogram.upper_bounds;
  const auto bucket = std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin();
  ++histogram.counts[bucket];
  histogram.sum += value;
}

// 1 ms .. 10 min, about three buckets a decade.
inline std::vector<double> LatencyBounds() {
  return {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,   0.2,   0.5,
          1.0,   2.0,   5.0,   10.0, 20.0, 50.0, 100.0, 200.0, 600.0};
}

}  // namespace kvpareto
