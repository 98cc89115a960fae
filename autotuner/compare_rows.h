// Whether two measurements of one row agree: for `check` and `diff`.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

// What of `now` differs from `then`, one sentence each: bytes at all; accuracy when the new mean is
// farther from the old one than the old one's lower bound; speeds whose ratio is beyond
// `speed_ratio` (above 1), either way. Speeds of 0 were not measured.
std::vector<std::string> Drifts(const ParetoRow& then, const ParetoRow& now, double speed_ratio);

// What changed between two tables: rows that came, went, or drifted, one line each; empty if
// nothing did.
std::vector<std::string> CompareTables(const ParetoTable& then, const ParetoTable& now,
                                       double speed_ratio);

}  // namespace kvpareto::tune
