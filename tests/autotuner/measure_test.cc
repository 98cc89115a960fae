// The tuner on a tiny random model, end to end.
#include "autotuner/measure.h"

#include <algorithm>

#include "engine/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto::tune {
namespace {

std::string Text(size_t bytes) {
  std::string text;
  for (int i = 0; text.size() < bytes; ++i) {
    text += "Sentence " + std::to_string(i * i % 977) + " of a text without meaning. ";
  }
  return text;
}

class MeasureTest : public testing::Test {
 protected:
  MeasureTest() {
    support::TinyModelOptions tiny;
    tiny.head_dim = 64;
    support::WriteGguf(support::MakeTinyModel(tiny), folder_.File("tiny.gguf"));
    options_.model_path = folder_.File("tiny.gguf");
    options_.text = Text(8000);
    options_.text_name = "text";
    options_.command = "the command";
    options_.windows = 2;
    options_.accuracy.contexts = {256, 512};
    options_.speed = {.context_tokens = 256, .decode_tokens = 8, .repeats = 1};
    options_.keep_dominated = true;
    options_.kv_capacity_bytes = uint64_t{64} << 20;
  }

  void Configs(const std::string& list) {
    auto configs = ParseConfigList(list);
    ASSERT_TRUE(configs.ok()) << configs.status();
    options_.configs = *std::move(configs);
  }

  const ParetoRow& Row(const ParetoTable& table, const std::string& name) {
    const ParetoRow* row = table.Find(name);
    if (row == nullptr) ADD_FAILURE() << name << " is not in the table";
    return row == nullptr ? table.rows.front() : *row;
  }

  support::TempDir folder_;
  MeasureOptions options_;
};

TEST_F(MeasureTest, TableIsCompleteAndOrdered) {
  Configs(
      "bf16 k=bf16 v=bf16 chunk=64\n"
      "int8 k=int8-channel v=int8-token chunk=64\n"
      "int4 k=int4-channel v=int4-token chunk=64\n"
      "int2 k=int2-channel v=int2-token chunk=64\n");
  const auto table = Measure(options_);
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_EQ(table->rows.size(), 4);
  EXPECT_EQ(table->provenance.command, "the command");
  EXPECT_EQ(table->model_fingerprint.size(), 16);

  double kl = 0.0, bytes = 1e9;
  for (const char* name : {"int8", "int4", "int2"}) {
    const ParetoRow& row = Row(*table, name);
    ASSERT_EQ(row.accuracy.size(), 2) << name;
    // Counted from 128 = 16 + 64 rounded up to the chunk; the last token predicts nothing.
    EXPECT_EQ(row.accuracy[0].samples, 2 * (256 - 128)) << name;
    EXPECT_EQ(row.accuracy[1].samples, 2 * (256 - 1)) << name;
    EXPECT_GT(row.accuracy[1].kl_mean, kl) << "fewer bits, more divergence: " << name;
    EXPECT_GE(row.accuracy[1].kl_p99, row.accuracy[1].kl_mean) << name;
    EXPECT_LT(row.accuracy[1].accuracy_low, row.accuracy[1].accuracy) << name;
    EXPECT_LT(row.bytes_per_token, bytes) << name;
    EXPECT_GT(row.speed.prefill_tokens_per_second, 0.0) << name;
    EXPECT_GT(row.speed.decode_tokens_per_second, 0.0) << name;
    EXPECT_EQ(row.speed.context_tokens, 256) << name;
    kl = row.accuracy[1].kl_mean;
    bytes = row.bytes_per_token;
  }
  EXPECT_EQ(Row(*table, "bf16").accuracy[0].accuracy_low, 1.0);

  const auto parsed = ParseParetoTable(FormatParetoTable(*table), "table.yaml");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->rows.size(), 4);
}

// Both rows are compared at the same positions, so a window that keeps more of them exact must
// show.
TEST_F(MeasureTest, ARecentWindowLowersTheDivergence) {
  Configs(
      "window k=int2-channel v=int2-token chunk=64 recent=256\n"
      "none k=int2-channel v=int2-token chunk=64 recent=0\n");
  const auto table = Measure(options_);
  ASSERT_TRUE(table.ok()) << table.status();
  const auto& window = Row(*table, "window").accuracy;
  const auto& none = Row(*table, "none").accuracy;
  // Counted from 384 = 16 + 256 + 64 rounded up: the first bucket is empty, so it is left out.
  ASSERT_EQ(window.size(), 1);
  ASSERT_EQ(none.size(), 1);
  EXPECT_EQ(window[0].samples, none[0].samples);
  EXPECT_GT(window[0].kl_mean, 0.0);
  EXPECT_LT(window[0].kl_mean, none[0].kl_mean);
}

TEST_F(MeasureTest, DecodedPositionsAreCountedPerContext) {
  Configs("int4 k=int4-channel v=int4-token chunk=64\n");
  options_.accuracy.decode_tokens = 16;
  const auto table = Measure(options_);
  ASSERT_TRUE(table.ok()) << table.status();
  const ParetoRow& row = Row(*table, "int4");
  ASSERT_EQ(row.accuracy.size(), 2);
  EXPECT_EQ(row.accuracy[0].samples, 2 * 15);
  EXPECT_EQ(row.accuracy[1].samples, 2 * 15);
  EXPECT_GT(row.accuracy[0].kl_mean, 0.0);
}

TEST_F(MeasureTest, FewerPositionsWhenTheReferenceMustFit) {
  Configs("int4 k=int4-channel v=int4-token chunk=64\n");
  options_.accuracy.reference_bytes = 2 * 100 * 320 * sizeof(float);  // 383 positions a window
  const auto table = Measure(options_);
  ASSERT_TRUE(table.ok()) << table.status();
  const auto& accuracy = Row(*table, "int4").accuracy;
  EXPECT_EQ(accuracy[0].samples + accuracy[1].samples, 2 * 96);  // every fourth of 383
}

TEST_F(MeasureTest, KeepsBf16OnTheFrontier) {
  Configs("int8 k=int8-channel v=int8-token chunk=64\n");
  options_.keep_dominated = false;
  const auto table = Measure(options_);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_TRUE(std::any_of(table->rows.begin(), table->rows.end(),
                          [](const ParetoRow& row) { return row.config.is_bf16(); }));
}

TEST_F(MeasureTest, RefusesWhatCannotBeMeasured) {
  Configs("int4 k=int4-channel v=int4-token chunk=256 recent=256\n");
  EXPECT_EQ(GetErrorInfo(Measure(options_).status())->reason, "NOTHING_COUNTED");

  Configs("int4 k=int4-channel v=int4-token chunk=64\n");
  options_.text = Text(500);
  EXPECT_EQ(GetErrorInfo(Measure(options_).status())->reason, "TEXT_TOO_SHORT");

  options_.accuracy.contexts = {512, 256};
  EXPECT_EQ(GetErrorInfo(Measure(options_).status())->reason, "TUNE_OPTION_INVALID");
}

}  // namespace
}  // namespace kvpareto::tune
