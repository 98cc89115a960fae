#include "engine/policy/pareto_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/policy/test_models.h"

namespace kvpareto {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kYaml[] = R"(schema_version: 1
model:
  name: small
  fingerprint: "sha256:12"
provenance:
  command: tune
  date: 2026-01-31
  machine: m
  text: t
  tool_version: 0.1.0
rows:
  - name: bf16
    config: k=bf16 v=bf16 sink=0
    bytes_per_token: 23040
    fixed_bytes: 0
    workspace_bytes: 1000
    accuracy: []
    speed: {prefill_tokens_per_second: 10, decode_tokens_per_second: 1.5, context_tokens: 512}
  - name: int4
    config: k=int4-channel v=int4-token
    bytes_per_token: 6480.5
    fixed_bytes: 7
    workspace_bytes: 1000
    accuracy:
      - max_context_tokens: 1024
        accuracy: 0.98
        accuracy_low: 0.97
        kl_mean: 0.004
        kl_p99: 0.08
        perplexity_ratio: 1.002
        samples: 4000
      - max_context_tokens: 4096
        accuracy: 0.97
        accuracy_low: 0.96
        kl_mean: 5e-3
        kl_p99: 0.09
        perplexity_ratio: 1.003
        samples: 4000
    speed:
      prefill_tokens_per_second: 9
      decode_tokens_per_second: 2
      context_tokens: 512
)";

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return at == text.npos ? text : text.replace(at, from.size(), to);
}

TEST(ParetoTableTest, ReadsEveryKey) {
  const auto table = ParseParetoTable(kYaml, "t.yaml");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->model_name, "small");
  EXPECT_EQ(table->model_fingerprint, "sha256:12");
  EXPECT_EQ(table->provenance.date, "2026-01-31");
  EXPECT_EQ(table->provenance.tool_version, "0.1.0");
  ASSERT_EQ(table->rows.size(), 2);
  const ParetoRow* row = table->Find("int4");
  ASSERT_EQ(row, &table->rows[1]);
  EXPECT_EQ(table->Find("int8"), nullptr);
  EXPECT_EQ(row->config, *KvConfig::Parse("k=int4-channel v=int4-token"));
  EXPECT_EQ(row->bytes_per_token, 6480.5);
  EXPECT_EQ(row->fixed_bytes, 7);
  EXPECT_EQ(row->workspace_bytes, 1000);
  ASSERT_EQ(row->accuracy.size(), 2);
  EXPECT_EQ(row->accuracy[1], (AccuracyBucket{.max_context_tokens = 4096,
                                              .accuracy = 0.97,
                                              .accuracy_low = 0.96,
                                              .kl_mean = 0.005,
                                              .kl_p99 = 0.09,
                                              .perplexity_ratio = 1.003,
                                              .samples = 4000}));
  EXPECT_EQ(row->speed, (SpeedPoint{9, 2, 512}));
}

TEST(ParetoTableTest, RandomTablesRoundTrip) {
  RandomPolicy random(41);
  for (int i = 0; i < 200; ++i) {
    const ParetoTable table = random.Table(random.Pick(1, 12), 30);
    const auto again = ParseParetoTable(FormatParetoTable(table), "t.yaml");
    ASSERT_TRUE(again.ok()) << again.status() << FormatParetoTable(table);
    ASSERT_EQ(*again, table) << FormatParetoTable(table);
  }
}

TEST(ParetoTableTest, ErrorsNameFileLineAndKey) {
  struct Case {
    std::string from, to, message;
  };
  for (const auto& [from, to, message] : {
           Case{"schema_version: 1", "schema_version: 2", "t.yaml:1: schema_version: 2 is not the"},
           {"schema_version: 1\n", "", "t.yaml:1: schema_version: is missing"},
           {"schema_version: 1", "schema_version: one", "'one' is not a whole number"},
           {"  fingerprint: \"sha256:12\"", "  print: x",
            "t.yaml:3: model.fingerprint: is missing"},
           {"\"sha256:12\"", "\"\"", "t.yaml:4: model.fingerprint: is empty"},
           {"  name: small", "  name: small\n  color: red",
            "t.yaml:4: model.color: unknown key; there are fingerprint, name"},
           {"  machine: m", "  machine: [m]", "t.yaml:8: provenance.machine: expected a single"},
           {"  machine: m", "  machine: m\n  machine: n", "t.yaml:9: provenance.machine: stands"},
           {"provenance:", "provenance: 1\nrest:", "provenance: expected a map"},
           {"  - name: int4", "  - name: bf16", "t.yaml:19: rows[1].name: 'bf16' is the name of"},
           {"  - name: int4", "  - name: pinned", "rows[1].name: must be"},
           {"  - name: int4", "  - name: a b", "rows[1].name: must be"},
           {"  - name: int4", "  - name: \"\"", "rows[1].name: must be"},
           {"k=int4-channel", "k=int4-chanel",
            "t.yaml:20: rows[1].config: KV config: no codec is called 'int4-chanel'"},
           {"fixed_bytes: 7", "fixed_bytes: -7", "t.yaml:22: rows[1].fixed_bytes: -7 is not in"},
           {"fixed_bytes: 7", "fixed_bytes: 7.5", "'7.5' is not a whole number"},
           {"bytes_per_token: 6480.5", "bytes_per_token: .inf", "'.inf' is not a number"},
           {"bytes_per_token: 6480.5", "bytes_per_token: nan", "'nan' is not a number"},
           {"bytes_per_token: 6480.5", "bytes_per_token: 1e999", "is not a number"},
           {"accuracy: 0.98", "accuracy: 1.01",
            "t.yaml:26: rows[1].accuracy[0].accuracy: 1.01 is not in 0..1"},
           {"accuracy_low: 0.97", "accuracy_low: 0.99", "accuracy_low: is above accuracy"},
           {"max_context_tokens: 4096", "max_context_tokens: 1024", "accuracy[1].max_context_tok"},
           {"max_context_tokens: 4096", "max_context_tokens: 0", "0 is not in 1.."},
           {"        samples: 4000\n", "", "rows[1].accuracy[0].samples: is missing"},
           {"    accuracy: []", "    accuracy: {}", "rows[0].accuracy: expected a list"},
           {"    accuracy: []", "    accuracy: [1]", "rows[0].accuracy[0]: expected a map"},
           {"context_tokens: 512}", "context_tokens: 512, x: 1}", "rows[0].speed.x: unknown key"},
           {"rows:", "rows: []\nlines:", "rows: is empty"},
           {"rows:", "rows: [", "not YAML"},
           {"  name: small", "  ? [a]\n  : small", "a key is not a word"},
       }) {
    const absl::Status status = ParseParetoTable(Replaced(kYaml, from, to), "t.yaml").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << to;
    EXPECT_THAT(std::string(status.message()), StartsWith("t.yaml:")) << to;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << to;
    ASSERT_TRUE(GetErrorInfo(status).has_value()) << to;
    EXPECT_EQ(GetErrorInfo(status)->reason, "TABLE_INVALID") << to;
  }
}

TEST(ParetoTableTest, AnyBytesGiveAnAnswer) {
  for (const std::string& text :
       {std::string(), std::string("\0", 1), std::string("~"), std::string("[]"),
        std::string("&a [*a]"), std::string(100000, '['), std::string(100000, '{'),
        std::string("a: *b"), std::string("--- a\n--- b"), std::string("\xff\xfe\xfd"),
        std::string("? {a: b} : c")}) {
    EXPECT_FALSE(ParseParetoTable(text, "t.yaml").ok()) << text.substr(0, 20);
  }
  RandomPolicy random(42);
  const std::string valid = kYaml;
  for (int i = 0; i < 2000; ++i) {
    std::string text = valid;
    for (int j = random.Pick(1, 3); j > 0; --j) {
      text[random.Pick(0, static_cast<int>(text.size()) - 1)] =
          static_cast<char>(random.Pick(0, 255));
    }
    text.resize(random.Pick(0, 3) == 0 ? random.Pick(0, static_cast<int>(text.size()))
                                       : text.size());
    const auto table = ParseParetoTable(text, "t.yaml");
    if (table.ok()) {
      EXPECT_EQ(*ParseParetoTable(FormatParetoTable(*table), "t.yaml"), *table);
    }
  }
}

TEST(ParetoTableTest, LoadsFiles) {
  const std::string path = testing::TempDir() + "/pareto_table_test.yaml";
  std::ofstream(path) << kYaml;
  const auto table = LoadParetoTable(path);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(*table, *ParseParetoTable(kYaml, path));
  EXPECT_EQ(LoadParetoTable(path + ".none").status().code(), absl::StatusCode::kNotFound);
}

TEST(ParetoTableTest, IsCheckedAgainstTheModel) {
  ParetoTable table = *ParseParetoTable(kYaml, "t.yaml");
  ModelConfig model = SmallModel();
  EXPECT_TRUE(CheckTableForModel(table, model, "sha256:12").ok());
  const absl::Status other = CheckTableForModel(table, model, "sha256:13");
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorInfo(other)->reason, "TABLE_MODEL_MISMATCH");
  table.rows[1].config.layer_overrides[99] = {};
  const absl::Status layers = CheckTableForModel(table, model, "sha256:12");
  EXPECT_EQ(layers.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(layers.message()), HasSubstr("row int4"));
}

TEST(ParetoTableTest, BucketsServeContexts) {
  const ParetoTable table = *ParseParetoTable(kYaml, "t.yaml");
  const ParetoRow& row = table.rows[1];
  EXPECT_EQ(BucketFor(row, 1), &row.accuracy[0]);
  EXPECT_EQ(BucketFor(row, 1024), &row.accuracy[0]);
  EXPECT_EQ(BucketFor(row, 1025), &row.accuracy[1]);
  EXPECT_EQ(BucketFor(row, 1000000), &row.accuracy[1]);
  EXPECT_EQ(BucketFor(table.rows[0], 1), nullptr);
  EXPECT_EQ(AccuracyLowAt(row, 1025), 0.96);
  EXPECT_EQ(AccuracyLowAt(table.rows[0], 1025), 1.0);  // the reference
  ParetoRow unmeasured = row;
  unmeasured.accuracy.clear();
  EXPECT_EQ(AccuracyLowAt(unmeasured, 1), std::nullopt);
  EXPECT_EQ(MeanAccuracyAt(row, 1025), row.accuracy[1].accuracy);
  EXPECT_EQ(MeanAccuracyAt(table.rows[0], 1025), 1.0);
  EXPECT_EQ(MeanAccuracyAt(unmeasured, 1), std::nullopt);
}

struct Axes {
  double bytes, accuracy, speed;
};
Axes AxesOf(const ParetoRow& row, const ModelConfig& model, int64_t context) {
  const auto peak = kv::PredictPeakBytes(Footprint(row.config, model), context, context,
                                         row.config.prefill_chunk_tokens);
  return {static_cast<double>(peak + row.workspace_bytes), AccuracyLowAt(row, context).value_or(-1),
          row.speed.decode_tokens_per_second};
}

TEST(NonDominatedTest, KeepsExactlyTheRowsThatNothingBeats) {
  const ModelConfig model = SmallModel();
  RandomPolicy random(43);
  for (int i = 0; i < 200; ++i) {
    const std::vector<ParetoRow> rows = random.Table(random.Pick(1, 25), model.layers).rows;
    const int64_t context = random.Pick(1, 8192);
    const std::vector<ParetoRow> kept = NonDominated(rows, model, {&context, 1});
    ASSERT_FALSE(kept.empty());
    size_t next_kept = 0;  // order is preserved
    for (const ParetoRow& row : rows) {
      const Axes a = AxesOf(row, model, context);
      const bool beaten = std::any_of(rows.begin(), rows.end(), [&](const ParetoRow& other) {
        const Axes b = AxesOf(other, model, context);
        const bool as_good = b.bytes <= a.bytes && b.accuracy >= a.accuracy && b.speed >= a.speed;
        const bool same = b.bytes == a.bytes && b.accuracy == a.accuracy && b.speed == a.speed;
        return as_good && !same;
      });
      const bool is_kept = next_kept < kept.size() && kept[next_kept].name == row.name;
      ASSERT_EQ(is_kept, !beaten) << row.name;
      next_kept += is_kept;
    }
    ASSERT_EQ(next_kept, kept.size());
  }
}

// Better at short contexts alone, and dominated at long ones: kept, since short requests exist.
TEST(NonDominatedTest, OneLengthAtWhichARowIsBestIsEnough) {
  const ModelConfig model = SmallModel();
  RandomPolicy random(44);
  ParetoRow small = random.Table(1, model.layers).rows[0];
  small.accuracy = {{.max_context_tokens = 1024, .accuracy = 0.9, .accuracy_low = 0.9},
                    {.max_context_tokens = 8192, .accuracy = 0.95, .accuracy_low = 0.95}};
  small.speed.decode_tokens_per_second = 100;
  ParetoRow large = small;
  large.name = "large";
  large.workspace_bytes += 1;
  large.accuracy[0].accuracy_low = 0.92;
  const std::vector<ParetoRow> rows = {small, large};
  const auto kept = [&](std::vector<int64_t> contexts) {
    return NonDominated(rows, model, contexts).size();
  };
  EXPECT_EQ(kept({1024}), 2u);
  EXPECT_EQ(kept({8192}), 1u);
  EXPECT_EQ(kept({1024, 8192}), 2u);
  EXPECT_EQ(kept({}), 0u);
}

}  // namespace
}  // namespace kvpareto
