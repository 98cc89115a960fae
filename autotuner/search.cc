#include "autotuner/search.h"

#include <algorithm>
#include <numeric>

#include "autotuner/evolve.h"
#include "autotuner/memory_model.h"
#include "autotuner/search_plan.h"

namespace kvpareto::tune {
namespace {

bool Chosen(const Trial& trial) { return trial.config.group == ConfigGroup::kOurs; }

}  // namespace

absl::Status Search::Run() {
  ExcludeByBytes();
  Indices all(trials_.size());
  std::iota(all.begin(), all.end(), 0);
  if (spec_.mode == SearchMode::kBrute) {
    KVP_RETURN_IF_ERROR(Accuracy(all));
    return Finals(all);
  }
  KVP_RETURN_IF_ERROR(Gate());
  if (spec_.mode == SearchMode::kEvolve) KVP_RETURN_IF_ERROR(Evolve());
  const int64_t kept = KeptByGate(spec_.quick, std::ssize(Candidates()));
  KVP_RETURN_IF_ERROR(Accuracy(Best(TrialStage::kGate, kept)));
  return Finals(Best(TrialStage::kAccuracy, spec_.quick.finalists));
}

Search::Indices Search::Candidates() const {
  Indices indices;
  for (size_t i = 0; i < trials_.size(); ++i) {
    if (Chosen(trials_[i]) && !trials_[i].failed()) indices.push_back(i);
  }
  return indices;
}

Costs Search::CostsOf(const Trial& trial, TrialStage stage) const {
  const int64_t tokens = spec_.text.accuracy.contexts.back();
  const TotalMemory memory = PredictTotal(bench_.engine(), trial.config.named.config, tokens);
  const auto& buckets = stage == TrialStage::kGate ? trial.gate : trial.accuracy;
  return {static_cast<double>(memory.kv_bytes + memory.workspace_bytes), buckets.back().kl_mean};
}

Search::Indices Search::Best(TrialStage stage, size_t count) const {
  Indices eligible, best;
  std::vector<Costs> costs;
  for (size_t i : Candidates()) {
    if (trials_[i].stage != stage) continue;
    eligible.push_back(i);
    costs.push_back(CostsOf(trials_[i], stage));
  }
  for (size_t i = 0; i < trials_.size(); ++i) {
    if (!Chosen(trials_[i])) best.push_back(i);
  }
  for (size_t i : BestByRank(costs, count)) best.push_back(eligible[i]);
  return best;
}

const Trial* Search::FirstReference() const {
  const auto first = std::find_if(trials_.begin(), trials_.end(),
                                  [](const Trial& trial) { return trial.is_reference(); });
  return first == trials_.end() ? nullptr : &*first;
}

// Of references one is enough: the first.
bool Search::HasTasks(const Trial& trial) const {
  return !trial.is_reference() || &trial == FirstReference();
}

void Search::ExcludeByBytes() {
  const Constraints& constraints = spec_.constraints;
  if (constraints.max_kv_bytes == 0) return;
  for (Trial& trial : trials_) {
    const TotalMemory memory =
        PredictTotal(bench_.engine(), trial.config.named.config, constraints.kv_tokens);
    if (Chosen(trial) && memory.kv_bytes > constraints.max_kv_bytes) {
      trial.failure = "max_kv_bytes";
    }
  }
}

absl::Status Search::Gate() {
  return Measure(
      TrialStage::kGate, Candidates(), [&](const Trial&) { return bench_.gate_work(); },
      [&](Trial& trial) {
        auto buckets = bench_.Gate(trial.config.named);
        if (buckets.ok()) trial.gate = *std::move(buckets);
        return buckets.status();
      });
}

absl::Status Search::Evolve() {
  const int64_t before = bench_.journal().appended();
  KVP_ASSIGN_OR_RETURN(
      EvolvedLayers evolved,
      EvolveLayers(spec_, bench_, stop_, [&](int64_t tokens, const std::string& what) {
        progress_.Advance(bench_.journal().appended() > before ? tokens : 0, what);
      }));
  layer_effects_ = std::move(evolved.effects);
  for (Trial& trial : evolved.front) {
    const auto same = [&](const Trial& other) {
      return other.config.named.config == trial.config.named.config;
    };
    if (std::none_of(trials_.begin(), trials_.end(), same)) trials_.push_back(std::move(trial));
  }
  return absl::OkStatus();
}

absl::Status Search::Accuracy(const Indices& indices) {
  return Measure(
      TrialStage::kAccuracy, indices, [&](const Trial&) { return bench_.accuracy_work(); },
      [&](Trial& trial) -> absl::Status {
        KVP_ASSIGN_OR_RETURN(trial.accuracy, bench_.Accuracy(trial.config.named));
        for (const AccuracyBucket& bucket : trial.accuracy) {
          const bool broken = bucket.accuracy_low < spec_.constraints.min_accuracy;
          if (broken && Chosen(trial)) trial.failure = "min_accuracy";
        }
        return absl::OkStatus();
      });
}

absl::Status Search::Finals(const Indices& indices) {
  return Measure(
      TrialStage::kFinal, indices,
      [&](const Trial& trial) {
        return bench_.speed_work() +
               (HasTasks(trial) ? bench_.task_prompt_tokens() + bench_.task_new_tokens() : 0);
      },
      [&](Trial& trial) -> absl::Status {
        KVP_ASSIGN_OR_RETURN(trial.run, bench_.Speed(trial.config.named));
        const double ms = 1e3 / trial.run->speed.decode_tokens_per_second;
        const double bound = spec_.constraints.max_decode_ms;
        if (bound > 0.0 && ms > bound && Chosen(trial)) trial.failure = "max_decode_ms";
        if (!HasTasks(trial)) return absl::OkStatus();
        KVP_ASSIGN_OR_RETURN(trial.task_scores, bench_.Tasks(trial.config.named));
        return absl::OkStatus();
      });
}

// By chunk, so that a chunk's reference is made once.
absl::Status Search::Measure(TrialStage stage, Indices indices, const WorkFn& work,
                             const MeasureFn& measure) {
  const auto chunk = [&](size_t i) { return trials_[i].config.named.config.prefill_chunk_tokens; };
  std::stable_sort(indices.begin(), indices.end(),
                   [&](size_t a, size_t b) { return chunk(a) < chunk(b); });
  for (size_t i : indices) {
    Trial& trial = trials_[i];
    if (trial.failed()) continue;
    const std::string key = bench_.FailureKey(stage, trial.config.named);
    if (const std::string* failure = bench_.journal().FindFailure(key)) {
      trial.failure = *failure;
      continue;
    }
    KVP_RETURN_IF_ERROR(stop_.Check());
    const int64_t appended = bench_.journal().appended();
    const absl::Status status = measure(trial);
    if (IsTrialOutcome(status)) {
      const auto info = GetErrorInfo(status);
      trial.failure = info ? info->reason : std::string(status.message());
      KVP_RETURN_IF_ERROR(
          bench_.journal().AppendFailure(key, trial.failure, trial.config.named.name));
    } else {
      KVP_RETURN_IF_ERROR(status);
      trial.stage = stage;
    }
    if (bench_.journal().appended() == appended) {
      progress_.Skip(work(trial));
    } else {
      progress_.Advance(work(trial),
                        std::string(TrialStageName(stage)) + " of " + trial.config.named.name);
    }
  }
  return absl::OkStatus();
}

}  // namespace kvpareto::tune
