#include "autotuner/pareto_rank.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

TEST(DominatesTest, NowhereWorseAndSomewhereBetter) {
  EXPECT_TRUE(Dominates({1, 2}, {2, 2}));
  EXPECT_FALSE(Dominates({2, 2}, {2, 2}));
  EXPECT_FALSE(Dominates({1, 3}, {2, 2}));
}

TEST(NonDominatedRanksTest, FrontsOneBehindTheOther) {
  //   cost 2
  //    3 | a . .
  //    2 | . . c
  //    1 | . b d      a, b: nothing dominates them; d: only b; c: d too
  EXPECT_THAT(NonDominatedRanks({{1, 3}, {2, 1}, {3, 2}, {3, 1}}),
              testing::ElementsAre(0, 0, 2, 1));
  EXPECT_THAT(NonDominatedRanks({{1, 1}, {1, 1}}), testing::ElementsAre(0, 0)) << "equals";
  EXPECT_TRUE(NonDominatedRanks({}).empty());
}

TEST(CrowdingDistancesTest, EndsAreInfiniteAndTheMiddleCountsItsNeighbours) {
  const std::vector<Costs> candidates = {{0, 10}, {1, 5}, {4, 0}};
  const std::vector<double> distances = CrowdingDistances(candidates, {0, 0, 0});
  EXPECT_EQ(distances[0], std::numeric_limits<double>::infinity());
  EXPECT_EQ(distances[2], std::numeric_limits<double>::infinity());
  EXPECT_DOUBLE_EQ(distances[1], 2.0);  // neighbours span both ranges
}

TEST(BestByRankTest, RankBeforeCrowdingBeforeOrder) {
  // On one front, the third is closest to its neighbours.
  const std::vector<Costs> candidates = {{0, 10}, {10, 0}, {4, 4.5}, {3, 5}, {20, 20}};
  EXPECT_THAT(BestByRank(candidates, 3), testing::ElementsAre(0, 1, 2));
  EXPECT_EQ(BestByRank(candidates, 9).size(), 5);
  EXPECT_EQ(BestByRank(candidates, 9).back(), 4) << "dominated";
}

}  // namespace
}  // namespace kvpareto::tune
