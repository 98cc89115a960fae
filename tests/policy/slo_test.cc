#include "engine/policy/slo.h"

#include <gmock/gmock.h>
#include <yaml-cpp/yaml.h>

#include <set>

#include "engine/model/json.h"

namespace kvpareto {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

const std::string kDeploy = KVPARETO_SOURCE_DIR "/deploy/";

// A file with one class, whose lines from the 5th on are `class_lines`.
std::string WithClass(const std::string& class_lines) {
  return "schema_version: 1\nmodels:\n  - model: m\n    classes:\n" + class_lines;
}

absl::Status Parsed(const std::string& yaml) { return ParseSlo(yaml, "slo.yaml").status(); }

std::vector<std::string> Keys(const Json& properties) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : properties.items()) keys.push_back(key);
  return keys;
}

std::vector<std::string> Keys(const YAML::Node& map) {
  std::vector<std::string> keys;
  for (const auto& entry : map) keys.push_back(entry.first.Scalar());
  return keys;
}

TEST(SloTest, ReadsEveryKey) {
  const auto file = ParseSlo(R"(schema_version: 1
models:
  - model: m
    kv_limit: 80%
    high_watermark: 0.9
    low_watermark: 0.5
    objective: memory
    accuracy: 0.95
    classes:
      - name: gold
        guaranteed_share: 0.25
        burst_share: 0.75
        max_request_bytes: 64MiB
        max_request_tokens: 4096
        accuracy_floor: 0.9
        priority: 7
        max_queued: 3
        max_wait: 1.5s
        requantizable: false
        pressure: [admit_lower, refuse]
)",
                             "slo.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  const ModelSlo* slo = file->Find("m");
  ASSERT_NE(slo, nullptr);
  EXPECT_EQ(slo->LimitBytes(1000), 800u);
  EXPECT_EQ(slo->high_watermark, 0.9);
  EXPECT_EQ(slo->low_watermark, 0.5);
  EXPECT_EQ(slo->objective, Objective::kMemory);
  EXPECT_EQ(slo->accuracy, 0.95);
  const ClassSlo& gold = slo->ClassFor("gold");
  EXPECT_EQ(gold.guaranteed_share, 0.25);
  EXPECT_EQ(gold.burst_share, 0.75);
  EXPECT_EQ(gold.max_request_bytes, uint64_t{64} << 20);
  EXPECT_EQ(gold.max_request_tokens, 4096);
  EXPECT_EQ(gold.accuracy_floor, 0.9);
  EXPECT_EQ(gold.priority, 7);
  EXPECT_EQ(gold.max_queued, 3);
  EXPECT_EQ(gold.max_wait, std::chrono::milliseconds(1500));
  EXPECT_FALSE(gold.requantizable);
  EXPECT_TRUE(gold.Allows(PressureAction::kAdmitLower));
  EXPECT_FALSE(gold.Allows(PressureAction::kQueue));
  EXPECT_EQ(slo->ClassFor("other").burst_share, 1.0);
  EXPECT_EQ(file->Find("n"), nullptr);
}

TEST(SloTest, RefusesWithFileAndLine) {
  const std::pair<std::string, std::string> cases[] = {
      {"schema_version: 2\nmodels: []\n", "slo.yaml:1: schema_version"},
      {"schema_version: 1\nmodels: []\nclasses: 1\n", "slo.yaml:3: classes: unknown key"},
      {"schema_version: 1\nmodels:\n  - model: m\n    kv_limit: 120%\n", "slo.yaml:4"},
      {"schema_version: 1\nmodels:\n  - model: m\n    kv_limit: 0%\n", "slo.yaml:4"},
      {"schema_version: 1\nmodels:\n  - model: m\n    kv_limit: 12 bananas\n", "slo.yaml:4"},
      {"schema_version: 1\nmodels:\n  - model: m\n    high_watermark: 0.5\n"
       "    low_watermark: 0.6\n",
       "slo.yaml:5: models[0].low_watermark: is above high_watermark"},
      {"schema_version: 1\nmodels:\n  - model: m\n  - model: m\n", "slo.yaml:4"},
      {WithClass("      - name: a\n        guaranteed_share: 0.6\n"
                 "      - name: b\n        guaranteed_share: 0.5\n"),
       "slo.yaml:8: models[0].classes[1].guaranteed_share: the guaranteed shares"},
      {WithClass("      - name: a\n        guaranteed_share: 0.6\n        burst_share: 0.5\n"),
       "slo.yaml:7: models[0].classes[0].burst_share: is below guaranteed_share"},
      {WithClass("      - name: a\n      - name: a\n"), "slo.yaml:6"},
      {WithClass("      - name: a b\n"), "slo.yaml:5"},
      {WithClass("      - priority: 1\n"), "name: is missing"},
      {WithClass("      - name: a\n        colour: red\n"),
       "slo.yaml:6: models[0].classes[0].colour: unknown key"},
      {WithClass("      - name: a\n        max_wait: 5\n"), "slo.yaml:6"},
      {WithClass("      - name: a\n        requantizable: perhaps\n"), "slo.yaml:6"},
      {WithClass("      - name: a\n        pressure: [queue, admit_lower]\n"), "slo.yaml:6"},
      {WithClass("      - name: a\n        pressure: [admit_lower]\n"), "must end with queue"},
      {WithClass("      - name: a\n        pressure: [refuse, refuse]\n"), "slo.yaml:6"},
      {WithClass("      - name: a\n        pressure: []\n"), "slo.yaml:6"},
      {WithClass("      - name: a\n        pressure: [pray, refuse]\n"), "is no pressure action"},
      {"models: [\n", "not YAML"},
  };
  for (const auto& [yaml, message] : cases) {
    const absl::Status status = Parsed(yaml);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << yaml;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << yaml;
    EXPECT_EQ(GetErrorInfo(status)->reason, "SLO_INVALID");
  }
}

TEST(SloTest, FloorsAndLimitsAreCheckedAgainstTableAndMemory) {
  auto file = ParseSlo(WithClass("      - name: a\n        accuracy_floor: 0.9\n"), "slo.yaml");
  ASSERT_TRUE(file.ok());
  ModelSlo& slo = file->models[0];
  ParetoTable table;
  ParetoRow row{.name = "int4", .config = *KvConfig::Parse("k=int4-channel v=int4-token-g32")};
  row.accuracy = {{.max_context_tokens = 1000, .accuracy = 0.96, .accuracy_low = 0.95},
                  {.max_context_tokens = 8000, .accuracy = 0.88, .accuracy_low = 0.85}};
  table.rows = {row};
  const absl::Status unmet = CheckSlo(slo, table, 1 << 30);
  EXPECT_THAT(std::string(unmet.message()), HasSubstr("slo.yaml:5: accuracy_floor"));
  slo.classes[0].max_request_tokens = 1000;  // there the row is good enough
  EXPECT_TRUE(CheckSlo(slo, table, 1 << 30).ok());
  slo.kv_limit = uint64_t{2} << 30;
  EXPECT_THAT(std::string(CheckSlo(slo, table, 1 << 30).message()),
              HasSubstr("slo.yaml:3: kv_limit"));
}

TEST(SloTest, RaisesTargetsAndLowersBudgets) {
  ModelSlo slo;
  slo.accuracy = 0.8;
  ClassSlo c;
  c.accuracy_floor = 0.9;
  c.max_request_bytes = 1000;
  c.max_request_tokens = 50;
  KvDemand demand{.prompt_tokens = 10, .total_tokens = 50};
  ASSERT_TRUE(ApplySlo(slo, c, demand).ok());
  EXPECT_EQ(demand.accuracy_target, 0.9);
  EXPECT_EQ(demand.budget_bytes, 1000u);
  demand.accuracy_target = 0.95;
  demand.budget_bytes = 10;
  ASSERT_TRUE(ApplySlo(slo, c, demand).ok());
  EXPECT_EQ(demand.accuracy_target, 0.95);
  EXPECT_EQ(demand.budget_bytes, 10u);
  demand.total_tokens = 51;
  EXPECT_EQ(GetErrorInfo(ApplySlo(slo, c, demand))->reason, "CLASS_TOKEN_LIMIT");
  KvDemand plain;
  ASSERT_TRUE(ApplySlo(slo, ClassSlo(), plain).ok());
  EXPECT_EQ(plain.accuracy_target, 0.8);
}

// Editors complete and check by the schema, so it must know what the parser knows.
TEST(SloTest, SchemaHasTheKeysOfTheParser) {
  const auto schema = ReadJsonFile(kDeploy + "slo.schema.json", 1 << 20);
  ASSERT_TRUE(schema.ok()) << schema.status();
  const Json& definitions = schema->at("definitions");
  EXPECT_THAT(Keys(schema->at("properties")), UnorderedElementsAreArray(AllSloKeys().file));
  EXPECT_THAT(Keys(definitions.at("model").at("properties")),
              UnorderedElementsAreArray(AllSloKeys().model));
  EXPECT_THAT(Keys(definitions.at("class").at("properties")),
              UnorderedElementsAreArray(AllSloKeys().service_class));
  std::set<std::string> actions;
  for (const auto& name :
       definitions.at("class").at("properties").at("pressure").at("items").at("enum")) {
    actions.insert(name.get<std::string>());
    EXPECT_TRUE(Parsed(WithClass("      - name: a\n        pressure: [" + name.get<std::string>() +
                                 (name == "queue" || name == "refuse" ? "]\n" : ", refuse]\n")))
                    .ok());
  }
  EXPECT_EQ(actions.size(), 5u);
}

TEST(SloTest, ExampleShowsEveryKey) {
  const auto file = LoadSlo(kDeploy + "slo.example.yaml");
  ASSERT_TRUE(file.ok()) << file.status();
  const YAML::Node example = YAML::LoadFile(kDeploy + "slo.example.yaml");
  EXPECT_THAT(Keys(example), UnorderedElementsAreArray(AllSloKeys().file));
  EXPECT_THAT(Keys(example["models"][0]), UnorderedElementsAreArray(AllSloKeys().model));
  EXPECT_THAT(Keys(example["models"][0]["classes"][0]),
              UnorderedElementsAreArray(AllSloKeys().service_class));
}

}  // namespace
}  // namespace kvpareto
