#include "autotuner/search_plan.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "autotuner/evolve.h"

namespace kvpareto::tune {
namespace {

struct Counts {
  int64_t ours = 0, paper = 0, references = 0;
};

Counts CountTrials(const std::vector<Trial>& trials) {
  Counts counts;
  for (const Trial& trial : trials) {
    if (trial.config.group == ConfigGroup::kOurs) ++counts.ours;
    if (trial.config.group == ConfigGroup::kPaper) ++counts.paper;
    if (trial.is_reference()) ++counts.references;
  }
  return counts;
}

PlanStage Accuracy(const TrialBench& bench, int64_t trials, int64_t references) {
  return {.name = "accuracy",
          .trials = trials,
          .prefill_tokens = (trials + references) * bench.accuracy_work()};
}

PlanStage Speed(const TuneSpec& spec, int64_t trials) {
  const int64_t runs = trials * spec.speed.repeats;
  return {.name = "speed",
          .trials = trials,
          .prefill_tokens = runs * spec.speed.context_tokens,
          .decode_tokens = runs * spec.speed.decode_tokens};
}

}  // namespace

int64_t SearchPlan::tokens() const {
  int64_t tokens = 0;
  for (const PlanStage& stage : stages) tokens += stage.prefill_tokens + stage.decode_tokens;
  return tokens;
}

double SearchPlan::Seconds(const Pace& pace) const {
  double seconds = 0.0;
  for (const PlanStage& stage : stages) {
    seconds += static_cast<double>(stage.prefill_tokens) / pace.prefill +
               static_cast<double>(stage.decode_tokens) / pace.decode;
  }
  return seconds;
}

int64_t KeptByGate(const QuickOptions& options, int64_t configs) {
  return static_cast<int64_t>(std::ceil(options.keep * static_cast<double>(configs)));
}

SearchPlan PlanSearch(const TuneSpec& spec, const TrialBench& bench,
                      const std::vector<Trial>& trials) {
  const Counts counts = CountTrials(trials);
  SearchPlan plan;
  int64_t measured = counts.ours, finalists = counts.ours;
  if (spec.mode != SearchMode::kBrute) {
    plan.stages.push_back(
        {.name = "gate", .trials = counts.ours, .prefill_tokens = counts.ours * bench.gate_work()});
    int64_t gated = counts.ours;
    if (spec.mode == SearchMode::kEvolve) {
      const int64_t runs = LayerSearchRuns(spec, bench.model());
      plan.stages.push_back(
          {.name = "layers", .trials = runs / 2, .prefill_tokens = runs * spec.evolve.text_tokens});
      const int64_t evolved = int64_t{spec.evolve.population} * (spec.evolve.generations + 1);
      plan.stages.push_back(
          {.name = "evolve", .trials = evolved, .prefill_tokens = evolved * bench.gate_work()});
      gated += spec.evolve.population;
    }
    measured = KeptByGate(spec.quick, gated);
    finalists = std::min<int64_t>(measured, spec.quick.finalists);
  }
  plan.stages.push_back(Accuracy(bench, measured + counts.paper, counts.references));
  plan.stages.push_back(Speed(spec, finalists + counts.paper + counts.references));
  if (!bench.tasks().empty()) {
    const int64_t trials = finalists + counts.paper + 1;
    plan.stages.push_back({.name = "tasks",
                           .trials = trials,
                           .prefill_tokens = trials * bench.task_prompt_tokens(),
                           .decode_tokens = trials * bench.task_new_tokens()});
  }
  return plan;
}

std::string FormatPlan(const SearchPlan& plan, const Pace& pace) {
  std::string text = "  stage       trials   prefill tokens   decode tokens\n";
  for (const PlanStage& stage : plan.stages) {
    text += absl::StrFormat("  %-10s %7d %16d %15d\n", stage.name, stage.trials,
                            stage.prefill_tokens, stage.decode_tokens);
  }
  return text + absl::StrFormat(
                    "  about %.0f min at the pace of the bf16 cache here: %.0f tokens/s of "
                    "prefill, %.0f of decode\n",
                    std::ceil(plan.Seconds(pace) / 60.0), pace.prefill, pace.decode);
}

}  // namespace kvpareto::tune
