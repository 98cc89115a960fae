#include "engine/policy/choose_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "tests/policy/test_models.h"

namespace kvpareto {
namespace {

using testing::HasSubstr;

uint64_t Workspace(int chunk_tokens) { return 100000 + uint64_t{3000} * chunk_tokens; }

ParetoRow MakeRow(const std::string& name, const std::string& config, double accuracy_low,
                  double decode_speed) {
  ParetoRow row;
  row.name = name;
  row.config = *KvConfig::Parse(config);
  row.accuracy = {{.max_context_tokens = 8192, .accuracy = 1.0, .accuracy_low = accuracy_low}};
  row.speed.decode_tokens_per_second = decode_speed;
  return row;
}

class ChooseTest : public testing::Test {
 protected:
  ChooseTest() {
    table_.rows = {MakeRow("bf16", "k=bf16 v=bf16 sink=0", 1.0, 50),
                   MakeRow("int8", "k=int8-token v=int8-token sink=0", 0.99, 60),
                   MakeRow("int4", "k=int4-channel v=int4-token sink=0", 0.95, 70),
                   MakeRow("int2", "k=int2-channel v=int2-token sink=0", 0.60, 65)};
    demand_.prompt_tokens = 4000;
    demand_.total_tokens = 4096;
  }

  uint64_t Peak(const std::string& name) const {
    const KvConfig& config = table_.Find(name)->config;
    return PredictKvPeakBytes(config, model_, demand_) + Workspace(config.prefill_chunk_tokens);
  }
  absl::StatusOr<Plan> Choose() {
    return ChooseConfig(table_, model_, demand_, memory_, Workspace);
  }
  std::string Chosen() {
    const auto plan = Choose();
    return plan.ok() ? plan->row_name + " " + std::string(PlanReasonName(plan->reason))
                     : std::string(plan.status().message());
  }

  ModelConfig model_ = SmallModel();
  ParetoTable table_;
  KvDemand demand_;
  MemoryState memory_{uint64_t{1} << 40, uint64_t{1} << 40};
};

TEST_F(ChooseTest, ObjectivesWithoutConstraints) {
  EXPECT_EQ(Chosen(), "bf16 default");
  demand_.objective = Objective::kMemory;
  EXPECT_EQ(Chosen(), "int2 default");
  demand_.objective = Objective::kSpeed;
  EXPECT_EQ(Chosen(), "int4 default");
}

TEST_F(ChooseTest, BudgetIsInclusiveAndCountsTheWorkspace) {
  demand_.budget_bytes = Peak("int8");
  EXPECT_EQ(Chosen(), "int8 budget");
  demand_.budget_bytes = Peak("int8") - 1;
  EXPECT_EQ(Chosen(), "int4 budget");
  const auto plan = Choose();
  EXPECT_EQ(plan->predicted_peak_bytes, plan->kv_peak_bytes + plan->workspace_bytes);
  EXPECT_EQ(plan->workspace_bytes, Workspace(256));
  EXPECT_EQ(plan->bf16_peak_bytes, uint64_t{30} * 3 * 2 * 64 * 2 * 4096);
  EXPECT_EQ(plan->accuracy, 0.95);
  EXPECT_EQ(plan->mean_accuracy, 1.0);
  EXPECT_EQ(plan->config, table_.rows[2].config);
}

TEST_F(ChooseTest, TargetIsComparedWithTheLowerBound) {
  demand_.objective = Objective::kMemory;
  demand_.accuracy_target = 0.95;
  EXPECT_EQ(Chosen(), "int4 accuracy");
  demand_.accuracy_target = 0.951;
  EXPECT_EQ(Chosen(), "int8 accuracy");
  demand_.accuracy_target = 1.0;
  EXPECT_EQ(Chosen(), "bf16 accuracy");
}

TEST_F(ChooseTest, UnmeasuredRowsMeetNoTargetButTheReferenceDoes) {
  for (ParetoRow& row : table_.rows) row.accuracy.clear();
  demand_.objective = Objective::kMemory;
  demand_.accuracy_target = 0.5;
  EXPECT_EQ(Chosen(), "bf16 accuracy");
}

TEST_F(ChooseTest, PressurePrefersWhatFitsNow) {
  memory_.available_bytes = Peak("int4");
  EXPECT_EQ(Chosen(), "int4 pressure");
  demand_.accuracy_target = 0.99;  // nothing that fits now meets it: choose as ever, and wait
  EXPECT_EQ(Chosen(), "bf16 default");
}

TEST(AccuracyAfterTest, AddsUpWhatEveryEncodingLoses) {
  const Plan bf16{.accuracy = 1.0, .mean_accuracy = 1.0};
  const Plan int8{.accuracy = 0.98, .mean_accuracy = 0.99};
  const Plan int4{.accuracy = 0.95, .mean_accuracy = 0.96};
  EXPECT_EQ(AccuracyAfter(bf16, int4).low, int4.accuracy) << "the reference has lost nothing";
  EXPECT_EQ(AccuracyAfter(bf16, int4).mean, int4.mean_accuracy);
  const PromisedAccuracy twice = AccuracyAfter(int8, int4);
  EXPECT_DOUBLE_EQ(*twice.low, 0.94);
  EXPECT_DOUBLE_EQ(*twice.mean, 0.95);
  const Plan after{.accuracy = twice.low, .mean_accuracy = twice.mean};
  EXPECT_DOUBLE_EQ(*AccuracyAfter(after, int4).low, 0.90);
  EXPECT_EQ(AccuracyAfter({.accuracy = 0.0, .mean_accuracy = 0.01}, int4).low, 0.0);
}

TEST(AccuracyAfterTest, PromisesNothingOfWhatWasNotMeasured) {
  const Plan measured{.accuracy = 0.98, .mean_accuracy = 0.99};
  EXPECT_EQ(AccuracyAfter({}, measured).low, std::nullopt);
  EXPECT_EQ(AccuracyAfter(measured, {}).low, std::nullopt);
}

TEST_F(ChooseTest, NothingFitsTheBudget) {
  demand_.accuracy_target = 0.99;
  demand_.budget_bytes = Peak("int4");
  const auto plan = Choose();
  ASSERT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  const auto info = GetErrorInfo(plan.status());
  EXPECT_EQ(info->reason, "NO_FEASIBLE_CONFIG");
  EXPECT_EQ(info->metadata.at("smallest_budget_bytes"), std::to_string(Peak("int8")));
  EXPECT_EQ(info->metadata.at("best_accuracy"), "0.95");
}

TEST_F(ChooseTest, BudgetThatNobodyCanMeet) {
  demand_.budget_bytes = 0;
  const auto info = GetErrorInfo(Choose().status());
  EXPECT_EQ(info->reason, "NO_FEASIBLE_CONFIG");
  EXPECT_EQ(info->metadata.at("smallest_budget_bytes"), std::to_string(Peak("int2")));
  EXPECT_FALSE(info->metadata.contains("best_accuracy"));
}

TEST_F(ChooseTest, TargetThatNobodyCanMeet) {
  table_.rows.erase(table_.rows.begin());
  demand_.accuracy_target = 0.995;
  const auto info = GetErrorInfo(Choose().status());
  EXPECT_EQ(info->reason, "NO_FEASIBLE_CONFIG");
  EXPECT_FALSE(info->metadata.contains("smallest_budget_bytes"));
  EXPECT_EQ(info->metadata.at("best_accuracy"), "0.99");
}

TEST_F(ChooseTest, RequestsLargerThanTheArena) {
  memory_ = {1000, 1000};
  const auto plan = Choose();
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kOutOfRange);
  const auto info = GetErrorInfo(plan.status());
  EXPECT_EQ(info->reason, "KV_EXCEEDS_CAPACITY");
  EXPECT_EQ(info->metadata.at("needed_bytes"), std::to_string(Peak("int2") - Workspace(256)));
  EXPECT_EQ(info->metadata.at("available_bytes"), "1000");
}

TEST_F(ChooseTest, CapacityChoosesASmallerConfig) {
  memory_.capacity_bytes = memory_.available_bytes = Peak("int8") - Workspace(256);
  EXPECT_EQ(Chosen(), "int8 default");
}

TEST_F(ChooseTest, SequencesShareWholeChunksOfThePrompt) {
  const KvConfig& config = table_.rows[1].config;
  const int chunk = config.prefill_chunk_tokens;
  const auto peak = [&](int64_t prompt_tokens, int sequences) {
    return PredictKvPeakBytes(config, model_,
                              {.prompt_tokens = prompt_tokens,
                               .total_tokens = prompt_tokens + 100,
                               .sequences = sequences});
  };
  EXPECT_EQ(peak(chunk, 3), 3 * peak(chunk, 1)) << "the only chunk gives the logits";
  EXPECT_EQ(peak(chunk + 1, 0), 0);
  const uint64_t shared = 3 * peak(10 * chunk + 1, 1) - peak(10 * chunk + 1, 3);
  const kv::FootprintParams params = Footprint(config, model_);
  EXPECT_EQ(shared, 2 * (params.sink_bytes +
                         params.sealed_block_bytes * ((10 * chunk - params.sink_tokens) / 64)));
}

TEST_F(ChooseTest, PinnedByName) {
  demand_.pinned = "int4";
  EXPECT_EQ(Chosen(), "int4 pinned");
  EXPECT_EQ(Choose()->accuracy, 0.95);
  memory_.available_bytes = 0;  // it waits rather than become another
  EXPECT_EQ(Chosen(), "int4 pinned");
}

TEST_F(ChooseTest, PinnedByText) {
  demand_.pinned = "k=int4-channel v=int4-token sink=0";  // a row's config: its accuracy is known
  EXPECT_EQ(Chosen(), "int4 pinned");
  demand_.pinned = "k=int4-channel v=int4-token sink=4 chunk=512";
  const auto plan = Choose();
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->row_name, "pinned");
  EXPECT_EQ(plan->config.sink_tokens, 4);
  EXPECT_EQ(plan->workspace_bytes, Workspace(512));
  EXPECT_EQ(plan->accuracy, std::nullopt);
}

TEST_F(ChooseTest, PinnedStillObeysBudgetTargetAndCapacity) {
  demand_.pinned = "int4";
  demand_.budget_bytes = Peak("int4");
  EXPECT_EQ(Chosen(), "int4 pinned");
  demand_.budget_bytes = Peak("int4") - 1;
  EXPECT_EQ(GetErrorInfo(Choose().status())->metadata.at("smallest_budget_bytes"),
            std::to_string(Peak("int4")));
  demand_.budget_bytes.reset();
  demand_.accuracy_target = 0.96;
  EXPECT_EQ(GetErrorInfo(Choose().status())->metadata.at("best_accuracy"), "0.95");
  demand_.accuracy_target.reset();
  memory_.capacity_bytes = 1000;
  EXPECT_EQ(GetErrorInfo(Choose().status())->reason, "KV_EXCEEDS_CAPACITY");
}

TEST_F(ChooseTest, PinnedMistakes) {
  demand_.pinned = "int3";
  EXPECT_EQ(GetErrorInfo(Choose().status())->reason, "KV_CONFIG_UNKNOWN");
  EXPECT_THAT(Chosen(), HasSubstr("bf16, int8, int4, int2"));
  demand_.pinned = "k=int3 v=bf16";
  EXPECT_EQ(GetErrorInfo(Choose().status())->reason, "KV_CONFIG_INVALID");
  demand_.pinned = "k=bf16 v=bf16 layers=30:bf16/bf16";
  EXPECT_EQ(GetErrorInfo(Choose().status())->reason, "KV_CONFIG_INVALID");
  model_.head_dim = 80;
  demand_.pinned = "k=int4-token-g64 v=bf16";
  EXPECT_EQ(GetErrorInfo(Choose().status())->reason, "KV_CONFIG_INVALID");
}

TEST_F(ChooseTest, ExplanationsSayWhatMattered) {
  demand_.budget_bytes = Peak("int8");
  EXPECT_THAT(Choose()->explanation, HasSubstr("int8 is the best by accuracy within the budget"));
  demand_.budget_bytes.reset();
  demand_.objective = Objective::kMemory;
  demand_.accuracy_target = 0.95;
  EXPECT_THAT(Choose()->explanation, HasSubstr("at the accuracy target 0.95"));
}

// Random tables and demands against the rule in its plainest words.
class ChoosePropertyTest : public testing::TestWithParam<uint32_t> {
 protected:
  struct Facts {
    uint64_t kv = 0, total = 0;
    std::optional<double> accuracy;
    double speed = 0;
  };

  Facts FactsOf(const ParetoRow& row) const {
    Facts facts;
    // The first sequence, and for each other one what it needs behind the last whole chunk that
    // leaves it a token to compute.
    const kv::FootprintParams params = Footprint(row.config, model_);
    const int chunk = row.config.prefill_chunk_tokens;
    int64_t border = 0;
    while (border + chunk < demand_.prompt_tokens) border += chunk;
    facts.kv = kv::PredictPeakBytes(params, demand_.prompt_tokens, demand_.total_tokens, chunk) +
               (demand_.sequences - 1) * kv::OwnPeakBytesFrom(params, border, demand_.prompt_tokens,
                                                              demand_.total_tokens, chunk);
    facts.total = facts.kv + Workspace(row.config.prefill_chunk_tokens);
    facts.accuracy = AccuracyLowAt(row, demand_.total_tokens);
    facts.speed = row.speed.decode_tokens_per_second;
    return facts;
  }
  bool MeetsTarget(const Facts& f) const {
    return !demand_.accuracy_target || (f.accuracy && *f.accuracy >= *demand_.accuracy_target);
  }
  bool FitsBudget(const Facts& f) const {
    return !demand_.budget_bytes || f.total <= *demand_.budget_bytes;
  }
  bool FitsArena(const Facts& f) const { return f.kv <= memory_.capacity_bytes; }

  // Whether `a` is strictly preferred to `b`.
  bool Preferred(const Facts& a, const Facts& b) const {
    const double accuracy_a = a.accuracy.value_or(-1), accuracy_b = b.accuracy.value_or(-1);
    switch (demand_.objective) {
      case Objective::kAccuracy:
        return accuracy_a != accuracy_b ? accuracy_a > accuracy_b : a.total < b.total;
      case Objective::kMemory:
        return a.total != b.total ? a.total < b.total : accuracy_a > accuracy_b;
      case Objective::kSpeed:
        return a.speed != b.speed ? a.speed > b.speed : a.total < b.total;
    }
    return false;
  }

  void Randomize(RandomPolicy& random) {
    table_ = random.Table(random.Pick(1, 15), model_.layers);
    if (random.Pick(0, 1)) table_.rows.push_back(MakeRow("bf16", "k=bf16 v=bf16 sink=0", 1, 40));
    demand_ = {};
    demand_.prompt_tokens = random.Pick(1, 6000);
    demand_.total_tokens = demand_.prompt_tokens + random.Pick(0, 500);
    demand_.sequences = random.Pick(0, 3) ? 1 : random.Pick(2, 4);
    demand_.objective = static_cast<Objective>(random.Pick(0, 2));
    const uint64_t bf16 = PredictKvPeakBytes(KvConfig::Bf16(), model_, demand_);
    const auto share = [&](double low, double high) {
      return static_cast<uint64_t>(random.Uniform(low, high) * static_cast<double>(bf16));
    };
    if (random.Pick(0, 2)) demand_.budget_bytes = share(0.05, 1.3);
    if (random.Pick(0, 2)) demand_.accuracy_target = random.Pick(0, 20) / 20.0;
    memory_.capacity_bytes = random.Pick(0, 3) ? uint64_t{1} << 40 : share(0.1, 1.5);
    memory_.available_bytes = random.Pick(0, 2) ? memory_.capacity_bytes
                                                : std::min(memory_.capacity_bytes, share(0.0, 1.2));
  }

  absl::StatusOr<Plan> Choose() const {
    return ChooseConfig(table_, model_, demand_, memory_, Workspace);
  }

  void CheckPlan(const Plan& plan) const {
    const ParetoRow* row = table_.Find(plan.row_name);
    ASSERT_NE(row, nullptr);
    const Facts chosen = FactsOf(*row);
    EXPECT_EQ(plan.config, row->config);
    EXPECT_EQ(plan.kv_peak_bytes, chosen.kv);
    EXPECT_EQ(plan.predicted_peak_bytes, chosen.total);
    EXPECT_EQ(plan.accuracy, chosen.accuracy);
    EXPECT_TRUE(MeetsTarget(chosen));
    EXPECT_TRUE(FitsBudget(chosen));
    EXPECT_TRUE(FitsArena(chosen));
    bool some_fits_now = false;
    for (const ParetoRow& other : table_.rows) {
      const Facts f = FactsOf(other);
      if (!MeetsTarget(f) || !FitsBudget(f) || !FitsArena(f)) continue;
      const bool fits_now = f.kv <= memory_.available_bytes;
      some_fits_now |= fits_now;
      const bool chosen_fits_now = chosen.kv <= memory_.available_bytes;
      if (fits_now == chosen_fits_now) {
        EXPECT_FALSE(Preferred(f, chosen)) << other.name << " beats " << row->name;
      } else if (plan.reason != PlanReason::kPressure) {
        EXPECT_FALSE(Preferred(f, chosen)) << "pressure changed the choice, the reason hides it";
      }
    }
    if (some_fits_now) {
      EXPECT_LE(chosen.kv, memory_.available_bytes);
    }
    if (plan.reason == PlanReason::kBudget) {
      EXPECT_TRUE(demand_.budget_bytes.has_value());
    }
    if (plan.reason == PlanReason::kAccuracy) {
      EXPECT_TRUE(demand_.accuracy_target.has_value());
    }
  }

  // Nothing fits indeed; what the error offers is exact.
  void CheckError(const absl::Status& status) {
    std::optional<double> best_accuracy;
    bool meets_in_arena = false, meets = false;
    for (const ParetoRow& row : table_.rows) {
      const Facts f = FactsOf(row);
      EXPECT_FALSE(MeetsTarget(f) && FitsBudget(f) && FitsArena(f)) << row.name;
      meets |= MeetsTarget(f);
      meets_in_arena |= MeetsTarget(f) && FitsArena(f);
      if (FitsBudget(f) && FitsArena(f) && f.accuracy) {
        best_accuracy = std::max(best_accuracy.value_or(0.0), *f.accuracy);
      }
    }
    const auto info = GetErrorInfo(status);
    ASSERT_TRUE(info.has_value());
    if (info->reason == "KV_EXCEEDS_CAPACITY") {
      EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
      EXPECT_TRUE(meets && !meets_in_arena);
      // An arena of exactly that size would do, one byte less would not.
      const uint64_t needed = std::stoull(info->metadata.at("needed_bytes"));
      demand_.budget_bytes.reset();
      memory_ = {needed, needed};
      EXPECT_TRUE(Choose().ok());
      memory_ = {needed - 1, needed - 1};
      EXPECT_FALSE(Choose().ok());
      return;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    ASSERT_EQ(info->reason, "NO_FEASIBLE_CONFIG");
    ASSERT_EQ(info->metadata.contains("best_accuracy"), best_accuracy.has_value());
    if (best_accuracy) {
      EXPECT_EQ(std::strtod(info->metadata.at("best_accuracy").c_str(), nullptr), *best_accuracy);
    }
    ASSERT_EQ(info->metadata.contains("smallest_budget_bytes"), meets_in_arena);
    if (!meets_in_arena) return;
    const uint64_t smallest = std::stoull(info->metadata.at("smallest_budget_bytes"));
    demand_.budget_bytes = smallest;
    EXPECT_TRUE(Choose().ok());
    demand_.budget_bytes = smallest - 1;
    EXPECT_FALSE(Choose().ok());
  }

  ModelConfig model_ = SmallModel();
  ParetoTable table_;
  KvDemand demand_;
  MemoryState memory_;
};

TEST_P(ChoosePropertyTest, TheRuleHolds) {
  RandomPolicy random(GetParam());
  int plans = 0, refused_budget = 0, refused_capacity = 0, pressed = 0;
  for (int i = 0; i < 1000; ++i) {
    Randomize(random);
    const auto plan = Choose();
    SCOPED_TRACE(testing::Message() << "trial " << i);
    if (plan.ok()) {
      ++plans;
      pressed += plan->reason == PlanReason::kPressure;
      CheckPlan(*plan);
    } else {
      GetErrorInfo(plan.status())->reason == "NO_FEASIBLE_CONFIG" ? ++refused_budget
                                                                  : ++refused_capacity;
      CheckError(plan.status());
    }
    if (HasFailure()) return;
  }
  // Every outcome must have been met, or the test says little.
  EXPECT_GT(plans, 50);
  EXPECT_GT(refused_budget, 20);
  EXPECT_GT(refused_capacity, 1);
  EXPECT_GT(pressed, 3);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ChoosePropertyTest, testing::Range(51u, 61u));

}  // namespace
}  // namespace kvpareto
