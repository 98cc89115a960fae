#include "autotuner/compare_rows.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

ParetoRow Row() {
  ParetoRow row{.name = "row", .bytes_per_token = 100.0, .fixed_bytes = 10, .workspace_bytes = 20};
  row.accuracy = {{.max_context_tokens = 1024, .accuracy = 0.95, .accuracy_low = 0.93}};
  row.speed = {.prefill_tokens_per_second = 100, .decode_tokens_per_second = 10};
  return row;
}

TEST(DriftsTest, NothingWithinIntervalAndRatio) {
  ParetoRow now = Row();
  now.accuracy[0].accuracy = 0.935;
  now.speed.decode_tokens_per_second = 14.0;
  EXPECT_TRUE(Drifts(Row(), now, 1.5).empty());
}

TEST(DriftsTest, EachKind) {
  ParetoRow now = Row();
  now.bytes_per_token = 101;
  EXPECT_THAT(Drifts(Row(), now, 1.5), testing::ElementsAre("bytes per token 100 -> 101"));
  now = Row();
  now.accuracy[0].accuracy = 0.92;
  EXPECT_THAT(
      Drifts(Row(), now, 1.5),
      testing::ElementsAre("accuracy up to 1024 tokens 0.9500 -> 0.9200 (beyond 0.9300..0.9700)"));
  now = Row();
  now.speed.decode_tokens_per_second = 6.0;
  EXPECT_THAT(Drifts(Row(), now, 1.5),
              testing::ElementsAre("decode 10 -> 6 tokens/s (ratio 0.60)"));
  now.speed.decode_tokens_per_second = 0.0;
  EXPECT_TRUE(Drifts(Row(), now, 1.5).empty()) << "was not measured";
}

TEST(CompareTablesTest, RowsThatCameAndWent) {
  ParetoTable then, now;
  then.rows = {Row()};
  now.rows = {Row()};
  EXPECT_TRUE(CompareTables(then, now, 1.5).empty());
  now.rows[0].name = "other";
  now.model_fingerprint = "f";
  const std::string config = Row().config.ToString();
  EXPECT_THAT(
      CompareTables(then, now, 1.5),
      testing::ElementsAre("other weights:  -> f", "- row: " + config, "+ other: " + config));
}

}  // namespace
}  // namespace kvpareto::tune
