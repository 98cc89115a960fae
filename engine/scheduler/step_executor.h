// Who computes the scheduler's steps: the model, or a model of its cost.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/ops/requantize.h"
#include "engine/request.h"
#include "engine/scheduler/continuation.h"
#include "engine/scheduler/sequence.h"

namespace kvpareto {

// One step. Every sequence's cache has its extents (SequenceCache::Allocate); they stay where they
// are until the step has run.
struct StepWork {
  std::vector<Sequence*> sequences;  // decoding ones first
  int decode_rows = 0;               // how many of them decode
};

struct StepOutputs {
  // One for each sequence of the step whose NextStepSamples() holds, in order.
  std::vector<StepOutput> sampled;
  // Prefilling sequences that have computed something that is no number: what they stored is not to
  // be used. (Decoding ones show by what they sample.)
  std::vector<const Sequence*> not_finite;
};

// Used by the engine thread alone.
class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  // What the `index`-th sequence of an admitted request will say. `prepared` outlives it.
  virtual std::unique_ptr<Continuation> Start(const PreparedRequest& prepared, int index) = 0;

  // Runs the step to its end. `outputs` comes with an empty entry for each sequence that samples;
  // an executor whose continuations do not read them leaves them so. Errors: a lost device
  // (INTERNAL), after which no step will succeed; others spoil this step alone.
  virtual absl::Status Run(const StepWork& work, StepOutputs& outputs) = 0;

  // Encodes blocks anew, between steps. Nothing to do where no block holds anything (a cost model).
  virtual void Requantize(std::span<const RequantizeItem> /*items*/) {}
};

}  // namespace kvpareto
