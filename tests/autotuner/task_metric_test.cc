#include "autotuner/task_metric.h"

#include "gmock/gmock.h"

namespace kvpareto::tune {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

double Score(Metric metric, std::string_view output, std::vector<std::string> references) {
  return ScoreText(metric, output, references);
}

TEST(TaskMetricTest, NormalizesWordsAsSquadDoes) {
  EXPECT_THAT(NormalizedWords("The  Quick, (brown) FOX's a-b_c!"),
              ElementsAre("quick", "brown", "foxs", "abc"));
  EXPECT_THAT(NormalizedWords("an The a"), IsEmpty());
  EXPECT_THAT(NormalizedWords("theatre an1 a\u2014b"), ElementsAre("theatre", "an1", "\u2014b"));
  EXPECT_THAT(NormalizedWords("\u00C9COLE\u00A0\u0130x\u3000\u201Cthe\u201D"),
              ElementsAre("\u00E9cole", "i\u0307x", "\u201C", "\u201D"));
  EXPECT_THAT(NormalizedWords("ok \xFF\xC3"), ElementsAre("ok", "\uFFFD\uFFFD"));
}

TEST(TaskMetricTest, F1IsTheBestOverTheReferences) {
  EXPECT_DOUBLE_EQ(Score(Metric::kF1, "the big red fox", {"cat", "red fox"}), 0.8);
  EXPECT_DOUBLE_EQ(Score(Metric::kF1, "fox fox", {"fox"}), 2.0 / 3.0);
  EXPECT_EQ(Score(Metric::kF1, "", {"fox"}), 0.0);
  EXPECT_EQ(Score(Metric::kF1, "the", {"a"}), 0.0);  // nothing is left of both
}

TEST(TaskMetricTest, ExactComparesNormalizedWords) {
  EXPECT_EQ(Score(Metric::kExact, " The Fox.", {"cat", "fox"}), 1.0);
  EXPECT_EQ(Score(Metric::kExact, "fox cub", {"fox"}), 0.0);
}

TEST(TaskMetricTest, ContainsIgnoresCase) {
  EXPECT_DOUBLE_EQ(Score(Metric::kContainsAll, "ab 123 \u00C9", {"AB", "\u00E9", "4"}), 2.0 / 3.0);
  EXPECT_EQ(Score(Metric::kContainsAny, "ab 123", {"4", "12"}), 1.0);
  EXPECT_EQ(Score(Metric::kContainsAny, "ab 123", {"4"}), 0.0);
}

TEST(TaskMetricTest, TheLastNumberCounts) {
  EXPECT_EQ(Score(Metric::kNumber, "3 plus 4 is 7.", {"so 3+4\n#### 7"}), 1.0);
  EXPECT_EQ(Score(Metric::kNumber, "it costs $1,234", {"#### 1234"}), 1.0);
  EXPECT_EQ(Score(Metric::kNumber, "-5 degrees", {"#### -5"}), 1.0);
  EXPECT_EQ(Score(Metric::kNumber, "7 apples, not 8", {"#### 7"}), 0.0);
  EXPECT_EQ(Score(Metric::kNumber, "no idea", {"#### 7"}), 0.0);
  EXPECT_EQ(Score(Metric::kNumber, "7.0", {"#### 7"}), 0.0);  // as text, like lm-eval
}

TEST(TaskMetricTest, TheStrictNumberFollowsItsMark) {
  EXPECT_EQ(Score(Metric::kNumberStrict, "#### x #### 7.\n#### 9", {"#### 7"}), 1.0);
  EXPECT_EQ(Score(Metric::kNumberStrict, "the answer is 7", {"#### 7"}), 0.0);
}

TEST(TaskMetricTest, NamesGoBothWays) {
  for (const std::string_view name : MetricNames()) {
    ASSERT_TRUE(ParseMetric(name).has_value()) << name;
    EXPECT_EQ(MetricName(*ParseMetric(name)), name);
  }
  EXPECT_FALSE(ParseMetric("bleu").has_value());
}

}  // namespace
}  // namespace kvpareto::tune
