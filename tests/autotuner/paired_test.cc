#include "autotuner/paired.h"

#include <cmath>

#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

TEST(PairedTest, TasksCountTheSameWhateverTheirSize) {
  const std::vector<PairedScores> tasks = {
      {.candidate = {1.0, 1.0, 1.0, 1.0}, .reference = {1.0, 1.0, 1.0, 1.0}},
      {.candidate = {0.0}, .reference = {0.5}},
      {.candidate = {}, .reference = {}}};
  const PairedDifference result = ComparePaired(tasks);
  EXPECT_DOUBLE_EQ(result.reference, 0.75);
  EXPECT_DOUBLE_EQ(result.candidate, 0.5);
  EXPECT_DOUBLE_EQ(result.difference.value, -0.25);
  ASSERT_TRUE(result.relative.has_value());
  EXPECT_DOUBLE_EQ(result.relative->value, -1.0 / 3.0);
  EXPECT_EQ(result.items, 5);
  EXPECT_EQ(result.changed, 1);
}

TEST(PairedTest, WhatIsCommonToBothScoresDoesNotWidenTheInterval) {
  PairedScores scores;
  for (int i = 0; i < 100; ++i) {
    scores.reference.push_back(i % 2);  // hard and easy items
    scores.candidate.push_back(i % 2 - 0.1);
  }
  const PairedDifference result = ComparePaired({&scores, 1});
  EXPECT_NEAR(result.difference.low, -0.1, 1e-12);
  EXPECT_NEAR(result.difference.high, -0.1, 1e-12);
  EXPECT_EQ(result.changed, 100);
}

// n differences that are 1 with probability 1/2: their mean has a standard deviation of 1/2 / sqrt
// n.
TEST(PairedTest, TheIntervalIsThatOfTheMean) {
  PairedScores scores;
  for (int i = 0; i < 400; ++i) {
    scores.reference.push_back(1.0);
    scores.candidate.push_back(i % 2);
  }
  const PairedDifference result = ComparePaired({&scores, 1});
  EXPECT_NEAR(result.difference.low, -0.5 - 1.96 * 0.025, 0.004);
  EXPECT_NEAR(result.difference.high, -0.5 + 1.96 * 0.025, 0.004);
  EXPECT_NEAR(result.relative->low, result.difference.low, 1e-12);  // the reference is 1 throughout
  const PairedDifference again = ComparePaired({&scores, 1});
  EXPECT_EQ(again.difference.low, result.difference.low);
}

TEST(PairedTest, NoRatioToAReferenceThatScoresNothing) {
  const PairedScores scores{.candidate = {0.0, 1.0}, .reference = {0.0, 0.0}};
  const PairedDifference result = ComparePaired({&scores, 1});
  EXPECT_FALSE(result.relative.has_value());
  EXPECT_DOUBLE_EQ(result.difference.value, 0.5);
  EXPECT_FALSE(ComparePaired({}).relative.has_value());
}

}  // namespace
}  // namespace kvpareto::tune
