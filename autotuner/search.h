// How a space is searched: everything of every config, or successive halving.
#pragma once

#include <functional>
#include <vector>

#include "autotuner/layer_search.h"
#include "autotuner/pareto_rank.h"
#include "autotuner/progress.h"
#include "autotuner/stop.h"
#include "autotuner/trial_bench.h"

namespace kvpareto::tune {

class Search {
 public:
  // All outlive the search.
  Search(const TuneSpec& spec, TrialBench& bench, std::vector<Trial>& trials, const StopCheck& stop,
         Progress& progress)
      : spec_(spec), bench_(bench), trials_(trials), stop_(stop), progress_(progress) {}

  // Fills the trials by the mode of the spec. Configs that others are compared with (references,
  // the paper's) go through every stage; of the others each stage hands on the best by rank in
  // bytes and divergence. What fails for memory, or breaks a constraint, is marked and goes no
  // further. Errors: CANCELLED (IsStop), with what was measured until then in the trials; of the
  // bench, other than outcomes of a trial.
  absl::Status Run();

  // What each layer's candidates add to the mean KL, [layer]; of evolution, otherwise empty.
  const std::vector<LayerEffects>& layer_effects() const { return layer_effects_; }

 private:
  using Indices = std::vector<size_t>;
  using MeasureFn = std::function<absl::Status(Trial&)>;
  using WorkFn = std::function<int64_t(const Trial&)>;  // tokens, for progress

  Indices Candidates() const;
  // Everything that is not to be chosen (should time run out, there is something to compare with),
  // then `count` of the candidates that reached `stage`.
  Indices Best(TrialStage stage, size_t count) const;
  Costs CostsOf(const Trial& trial, TrialStage stage) const;
  const Trial* FirstReference() const;
  void ExcludeByBytes();
  absl::Status Gate();
  absl::Status Evolve();
  absl::Status Accuracy(const Indices& indices);
  absl::Status Finals(const Indices& indices);
  absl::Status Measure(TrialStage stage, Indices indices, const WorkFn& work,
                       const MeasureFn& measure);
  bool HasTasks(const Trial& trial) const;

  const TuneSpec& spec_;
  TrialBench& bench_;
  std::vector<Trial>& trials_;
  const StopCheck& stop_;
  Progress& progress_;
  std::vector<LayerEffects> layer_effects_;
};

}  // namespace kvpareto::tune
