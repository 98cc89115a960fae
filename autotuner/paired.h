// Whether a config loses anything: differences item by item, with confidence intervals.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace kvpareto::tune {

// Scores of the same items, in the same order, under a candidate and under the reference.
struct PairedScores {
  std::vector<double> candidate, reference;
};

struct Interval {
  double value = 0.0, low = 0.0, high = 0.0;
};

struct PairedOptions {
  int rounds = 10000;
  double confidence = 0.95;
  uint64_t seed = 1;
};

struct PairedDifference {
  double candidate = 0.0, reference = 0.0;  // means of the tasks' means
  Interval difference;                      // candidate - reference
  // difference / reference: -0.01 is a loss of one percent. Nothing where the reference scores 0.
  std::optional<Interval> relative;
  int64_t items = 0;
  int64_t changed = 0;  // items whose score differs: what the interval rests on
};

// Every task counts the same, whatever its number of items. The interval is the percentile
// bootstrap's (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13), pairs of
// scores being drawn anew within every task: what an item asks is common to both scores and
// cancels. The same numbers and seed give the same interval on every platform. Tasks without items
// are left out.
PairedDifference ComparePaired(std::span<const PairedScores> tasks,
                               const PairedOptions& options = {});

}  // namespace kvpareto::tune
