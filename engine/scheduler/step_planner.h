// Which sequences a step serves.
#pragma once

#include <span>
#include <vector>

namespace kvpareto {

struct StepCandidate {
  int tokens = 0;  // that the sequence's next step adds
  bool prefill = false;
};

struct StepPlan {
  std::vector<int> decode;   // indices of candidates
  std::vector<int> prefill;  // indices of candidates, in order
};

// The rule: every decoding sequence gets its token; then, in order of arrival, prefilling sequences
// get one whole chunk each until the next one would exceed `max_prefill_rows`. `candidates` are in
// order of arrival; each prefill chunk is at most max_prefill_rows.
StepPlan PlanStep(std::span<const StepCandidate> candidates, int max_prefill_rows);

}  // namespace kvpareto
