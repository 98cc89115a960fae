// What a search will do, before it does it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autotuner/trial_bench.h"

namespace kvpareto::tune {

struct PlanStage {
  std::string name;
  int64_t trials = 0;          // at most
  int64_t prefill_tokens = 0;  // of all trials and of the references
  int64_t decode_tokens = 0;   // of these, one sequence's at a time
};

struct SearchPlan {
  std::vector<PlanStage> stages;
  int64_t tokens() const;
  double Seconds(const Pace& pace) const;
};

SearchPlan PlanSearch(const TuneSpec& spec, const TrialBench& bench,
                      const std::vector<Trial>& trials);

// A table for people, with the estimate at that pace.
std::string FormatPlan(const SearchPlan& plan, const Pace& pace);

// How many of `configs` the first rung of successive halving hands on.
int64_t KeptByGate(const QuickOptions& options, int64_t configs);

}  // namespace kvpareto::tune
