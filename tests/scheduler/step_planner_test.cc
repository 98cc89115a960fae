#include "engine/scheduler/step_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvpareto {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr StepCandidate kDecode{.tokens = 1, .prefill = false};
constexpr StepCandidate Prefill(int tokens) { return {.tokens = tokens, .prefill = true}; }

TEST(StepPlannerTest, NothingToDo) {
  const StepPlan plan = PlanStep({}, 1024);
  EXPECT_THAT(plan.decode, IsEmpty());
  EXPECT_THAT(plan.prefill, IsEmpty());
}

TEST(StepPlannerTest, EveryDecodingSequenceGetsItsToken) {
  const StepCandidate candidates[] = {kDecode, Prefill(512), kDecode, Prefill(512), kDecode};
  const StepPlan plan = PlanStep(candidates, 1024);
  EXPECT_THAT(plan.decode, ElementsAre(0, 2, 4));
  EXPECT_THAT(plan.prefill, ElementsAre(1, 3));
}

TEST(StepPlannerTest, ChunksAreNeverCut) {
  const StepCandidate candidates[] = {Prefill(256), Prefill(1024)};
  EXPECT_THAT(PlanStep(candidates, 1024).prefill, ElementsAre(0));
}

TEST(StepPlannerTest, SmallChunkDoesNotOvertakeLargeOne) {
  const StepCandidate candidates[] = {Prefill(512), Prefill(1024), Prefill(64)};
  EXPECT_THAT(PlanStep(candidates, 1024).prefill, ElementsAre(0));
}

TEST(StepPlannerTest, FirstPrefillAlwaysRuns) {
  const StepCandidate candidates[] = {kDecode, Prefill(1024)};
  EXPECT_THAT(PlanStep(candidates, 1024).prefill, ElementsAre(1));
}

}  // namespace
}  // namespace kvpareto
