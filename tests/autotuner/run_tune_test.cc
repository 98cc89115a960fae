// Whole runs on a tiny random model.
#include "autotuner/run_tune.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "autotuner/check_table.h"
#include "autotuner/journal.h"
#include "autotuner/text_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/autotuner/tiny_engine.h"

namespace kvpareto::tune {
namespace {

class RunTuneTest : public TinyEngineTest {
 protected:
  RunTuneTest() { std::ofstream(folder_.File("text.txt")) << Prose(8000); }

  // Writes a tuning file and runs it.
  absl::Status Run(const std::string& search, const StopCheck& stop, bool dry_run = false) {
    const std::string yaml =
        "schema_version: 1\n"
        "out: out\n"
        "kv_capacity_mib: " +
        std::to_string(capacity_mib_) +
        "\nmodels:\n"
        "  - {name: tiny, weights: [" +
        weights_ +
        "]}\n"
        "text: {files: [text.txt], contexts: [256, 512], windows: 1, decode_tokens: 32}\n"
        "speed: {context_tokens: 128, decode_tokens: 4, repeats: 1}\n"
        "memory_tokens: [1000]\n"
        "tasks:\n"
        "  - {kind: perplexity, path: text.txt, count: 2, context_tokens: [256]}\n"
        "space:\n"
        "  grids:\n"
        "    - pairs: [int8-channel/int8-token, int4-channel/int4-token, int2-channel/int2-token]\n"
        "      chunk: [64, 128]\n"
        "  configs:\n"
        "    - {name: paper-k4v4, group: paper, config: \"k=int4-token-g32-smooth "
        "v=int4-token-g32 sink=0 recent=0 chunk=128\"}\n" +
        search;
    std::ofstream(folder_.File("run.yaml")) << yaml;
    KVP_ASSIGN_OR_RETURN(spec_, LoadTuneSpec(folder_.File("run.yaml")));
    return RunTune(spec_, stop, {.command = "the command", .dry_run = dry_run});
  }

  std::string Out(const std::string& file) {
    const auto content = ReadTextFile(folder_.File("out/" + file));
    EXPECT_TRUE(content.ok()) << content.status();
    return content.ok() ? *content : "";
  }
  // Of a journal what differs from run to run.
  static std::string Speeds(const std::string& journal) {
    std::string kept;
    std::istringstream lines(journal);
    for (std::string line; std::getline(lines, line);) {
      const bool differs =
          line.find("\"what\":\"speed") != line.npos || line.find("\"what\":\"date") != line.npos;
      if (differs) kept += line + "\n";
    }
    return kept;
  }
  nlohmann::json Results() { return nlohmann::json::parse(Out("results.json")); }

  const std::atomic<bool> running_ = false;
  const StopCheck never_{running_, 0};
  int capacity_mib_ = 64;
  std::string weights_ = "{kind: as-is, path: tiny.gguf}";
  TuneSpec spec_;
};

constexpr char kBrute[] = "search: {mode: brute}\n";

TEST_F(RunTuneTest, BruteMeasuresEverythingOfEveryConfig) {
  ASSERT_TRUE(Run(kBrute, never_).ok());
  const auto results = Results();
  EXPECT_TRUE(results["complete"]);
  const auto& weights = results["models"][0]["weights"][0];
  ASSERT_EQ(weights["rows"].size(), 1 + 6 + 2) << "paper's, grid, a bf16 of each chunk";
  for (const auto& row : weights["rows"]) {
    EXPECT_EQ(row["stage"], "final") << row["name"];
    EXPECT_EQ(row["accuracy"].size(), 2) << row["name"];
    const auto& memory = row["measured_memory"];
    EXPECT_EQ(memory["predicted_peak_bytes"], memory["measured_peak_bytes"]) << row["name"];
    EXPECT_GT(row["memory"][0]["total_bytes"], 0);
  }
  const auto table = LoadParetoTable(folder_.File("out/tiny.as-is.yaml"));
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->provenance.command, "the command");
  EXPECT_EQ(table->model_fingerprint, engine_->model().fingerprint);
  EXPECT_TRUE(CheckTableForModel(*table, engine_->model().config, "other").code() ==
              absl::StatusCode::kFailedPrecondition);
}

TEST_F(RunTuneTest, TaskScoresAreHeldAgainstTheBf16Cache) {
  ASSERT_TRUE(Run(kBrute, never_).ok());
  const auto results = Results();
  const auto& model = results["models"][0];
  EXPECT_EQ(model["tasks"][0]["contexts"][0]["items"], 2);
  int scored = 0;
  for (const auto& row : model["weights"][0]["rows"]) {
    if (row["score"].is_null()) continue;
    ++scored;
    if (row["group"] == "reference") {
      EXPECT_EQ(row["score"]["difference"]["value"], 0.0);
      EXPECT_EQ(row["score"]["relative"]["high"], 0.0);
    }
  }
  EXPECT_EQ(scored, 1 + 6 + 1) << "of references one is enough";
}

TEST_F(RunTuneTest, QuickMeasuresLessOfWhatIsWorse) {
  ASSERT_TRUE(Run("search: {mode: quick, keep: 0.5, finalists: 2}\n", never_).ok());
  std::map<std::string, int> stages;
  const auto results = Results();
  for (const auto& row : results["models"][0]["weights"][0]["rows"]) {
    if (row["group"] == "ours") {
      ++stages[row["stage"]];
    } else {
      EXPECT_EQ(row["stage"], "final") << row["name"];
    }
  }
  EXPECT_THAT(stages,
              testing::UnorderedElementsAre(testing::Pair("gate", 3), testing::Pair("accuracy", 1),
                                            testing::Pair("final", 2)));
}

TEST_F(RunTuneTest, EvolutionAddsMapsThatDifferByLayer) {
  ASSERT_TRUE(Run("search:\n  mode: evolve\n  keep: 1\n  finalists: 20\n"
                  "  evolve: {base: \"k=bf16 v=bf16 sink=16 recent=0 chunk=64\", "
                  "k_codecs: [int2-channel, int4-channel, int8-channel], "
                  "v_codecs: [int2-token, int4-token, int8-token], population: 6, "
                  "generations: 2, text_tokens: 256}\n",
                  never_)
                  .ok());
  int maps = 0;
  const auto results = Results();
  for (const auto& row : results["models"][0]["weights"][0]["rows"]) {
    maps += row.contains("layers") ? 1 : 0;
  }
  EXPECT_GT(maps, 0);
  const auto& layers = results["models"][0]["weights"][0]["layer_sensitivity"];
  ASSERT_EQ(layers.size(), engine_->model().config.layers);
  for (const auto& layer : layers) {
    ASSERT_EQ(layer["k"].size(), 3) << layer;
    EXPECT_GT(layer["k"]["int2-channel"], layer["k"]["int8-channel"]) << layer;
    EXPECT_GT(layer["v"]["int2-token"], layer["v"]["int8-token"]) << layer;
  }
  EXPECT_THAT(Out("report.html"), testing::HasSubstr("Layer by layer"));
}

TEST_F(RunTuneTest, WeightsThatAwqMakesHaveATableOfTheirOwn) {
  weights_ =
      "{kind: as-is, path: tiny.gguf}, {kind: awq4, path: tiny-awq, from: tiny.gguf, group: 64}";
  ASSERT_TRUE(Run("calibration: {files: [text.txt]}\n" + std::string(kBrute), never_).ok());
  const auto of_awq = LoadParetoTable(folder_.File("out/tiny.awq4.yaml"));
  ASSERT_TRUE(of_awq.ok()) << of_awq.status();
  const auto reason = [&](const std::string& model, const std::string& table) -> std::string {
    EngineOptions options;
    options.model_path = folder_.File(model);
    options.table_path = folder_.File("out/" + table);
    options.kv_capacity_bytes = uint64_t{16} << 20;
    options.device = "cpu";
    const absl::Status status = Engine::Create(options).status();
    return status.ok() ? "accepted" : GetErrorInfo(status)->reason;
  };
  EXPECT_EQ(reason("tiny-awq", "tiny.awq4.yaml"), "accepted");
  EXPECT_EQ(reason("tiny.gguf", "tiny.awq4.yaml"), "TABLE_MODEL_MISMATCH");
  EXPECT_EQ(reason("tiny-awq", "tiny.as-is.yaml"), "TABLE_MODEL_MISMATCH");
  EXPECT_FALSE(std::filesystem::exists(folder_.File("out/tiny.awq4.calibration.safetensors")))
      << "no config needs one";
}

TEST_F(RunTuneTest, ConstraintsAndMemoryAreOutcomes) {
  ASSERT_TRUE(
      Run("constraints: {max_kv_bytes: 1, kv_tokens: 512}\n" + std::string(kBrute), never_).ok());
  for (const auto& row : Results()["models"][0]["weights"][0]["rows"]) {
    EXPECT_EQ(row["failure"], row["group"] == "ours" ? "max_kv_bytes" : "") << row["name"];
  }
}

TEST_F(RunTuneTest, StoppedItSaysSoAndTheSameCommandGivesWhatWasMissing) {
  ASSERT_TRUE(Run(kBrute, never_).ok());
  const std::string table = Out("tiny.as-is.yaml"), results = Out("results.json");
  const std::string known = Speeds(Out("journal.jsonl"));
  std::filesystem::remove_all(folder_.File("out"));
  const std::atomic<bool> pressed = true;
  const StopCheck stopped(pressed, 0);
  ASSERT_TRUE(Run(kBrute, stopped).ok());
  EXPECT_FALSE(Results()["complete"]);
  // All but speeds is measured again. The last record is cut: what kill -9 may leave.
  std::ofstream(folder_.File("out/journal.jsonl")) << known << R"({"key": "cu)";
  ASSERT_TRUE(Run(kBrute, never_).ok());
  EXPECT_TRUE(Out("tiny.as-is.yaml") == table);
  EXPECT_TRUE(Out("results.json") == results);
}

TEST_F(RunTuneTest, ADryRunMeasuresAndWritesNothing) {
  testing::internal::CaptureStdout();
  ASSERT_TRUE(Run(kBrute, never_, /*dry_run=*/true).ok());
  const std::string plan = testing::internal::GetCapturedStdout();
  EXPECT_NE(plan.find("accuracy"), plan.npos) << plan;
  EXPECT_NE(plan.find("about"), plan.npos) << plan;
  EXPECT_FALSE(std::filesystem::exists(folder_.File("out/results.json")));
}

TEST_F(RunTuneTest, ACheckFindsWhatIsNotSo) {
  ASSERT_TRUE(Run(kBrute, never_).ok());
  auto table = LoadParetoTable(folder_.File("out/tiny.as-is.yaml"));
  ASSERT_TRUE(table.ok()) << table.status();
  const CheckOptions options{.rows = 2, .speed_ratio = 1e6};
  const auto holds = CheckTable(*table, spec_, never_, options);
  ASSERT_TRUE(holds.ok()) << holds.status();
  ASSERT_EQ(holds->size(), 2);
  for (const CheckedRow& row : *holds) EXPECT_TRUE(row.drifts.empty()) << row.name;

  table->rows[0].fixed_bytes += 1;
  const auto drifted = CheckTable(*table, spec_, never_, options);
  ASSERT_TRUE(drifted.ok()) << drifted.status();
  EXPECT_EQ(drifted->front().drifts.size(), 1);

  table->model_fingerprint = "0000000000000000";
  EXPECT_EQ(GetErrorInfo(CheckTable(*table, spec_, never_, options).status())->reason,
            "TABLE_MODEL_MISMATCH");
}

}  // namespace
}  // namespace kvpareto::tune
