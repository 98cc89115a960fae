// From sensitivities measured on a tiny random model to a list that can be measured.
#include "autotuner/layer_report.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "tests/autotuner/counting_engine.h"
#include "tests/autotuner/tiny_engine.h"

namespace kvpareto::tune {
namespace {

class LayerReportTest : public TinyEngineTest {
 protected:
  LayerReportTest() {
    auto ids = engine_->Tokenize(Prose(1000));
    EXPECT_TRUE(ids.ok()) << ids.status();
    ids->resize(300);
    texts_.push_back({.name = "text", .tokens = *std::move(ids)});
    report_.model = "tiny";
    report_.layers = engine_->model().config.layers;
    report_.texts = {"text"};
    report_.name = "map";
    LayerSearchOptions& search = report_.search;
    search.base = *KvConfig::Parse("k=bf16 v=bf16 sink=0 recent=0");
    for (const char* name : {"int2-channel", "int4-channel", "bf16"}) {
      search.k_codecs.push_back(*kv::FindCodec(name));
    }
    for (const char* name : {"int2-token", "int4-token"}) {
      search.v_codecs.push_back(*kv::FindCodec(name));
    }
    search.target_bits = {1.0, 4.0, 6.0};
    report_.fidelity = {.first = 128, .stride = 5, .reference = LayerSearchReference(search.base)};
  }

  // Returns how often the model ran.
  int Measure() {
    CountingEngine counting(*engine_);
    auto journal = Journal::Open(folder_.File("layers.journal"));
    EXPECT_TRUE(journal.ok()) << journal.status();
    const ModelConfig& model = engine_->model().config;
    const auto measure = [&](const std::vector<MeasuredConfig>& configs) {
      const auto results = MeasureFidelity(counting, texts_, configs, report_.fidelity, *journal);
      EXPECT_TRUE(results.ok()) << results.status();
      std::vector<double> kl;
      for (const ConfigFidelity& result : *results) kl.push_back(MeanKl(result));
      return kl;
    };
    report_.kl = measure(SensitivityConfigs(report_.search, model));
    const int scored = counting.scored();
    report_.control = measure(ControlConfigs(report_.search, model));
    report_.maps = SearchLayerMaps(report_.search, model,
                                   EffectsOf(report_.search, report_.kl, report_.control));
    return scored;
  }

  std::vector<TokenizedText> texts_;
  LayerReport report_;
};

TEST_F(LayerReportTest, MeasuresEveryCandidateOnceAndBf16ForAllLayersTogether) {
  EXPECT_EQ(Measure(), 1 + 4 * report_.layers + 1);
  EXPECT_EQ(Measure(), 0);
  ASSERT_EQ(report_.kl.size(), 5 * report_.layers);
  for (int layer = 0; layer < report_.layers; ++layer) {
    const double* kl = &report_.kl[5 * layer];
    EXPECT_GT(kl[0], kl[1]) << layer;
    EXPECT_GT(kl[1], 0.0) << layer;
    EXPECT_EQ(kl[2], 0.0) << layer;
    EXPECT_GT(kl[3], kl[4]) << layer;
    EXPECT_GT(kl[4], report_.control[layer]) << layer;
    EXPECT_GT(report_.control[layer], 0.0) << layer;
  }
}

TEST_F(LayerReportTest, JsonHoldsSensitivitiesAndMaps) {
  Measure();
  const auto json = nlohmann::json::parse(LayersJson(report_));
  ASSERT_EQ(json["layers"].size(), report_.layers);
  EXPECT_EQ(json["layers"][1]["layer"], 1);
  EXPECT_EQ(json["layers"][1]["control"], report_.control[1]);
  EXPECT_EQ(json["layers"][1]["k"]["int4-channel"], report_.kl[5 + 1]);
  EXPECT_EQ(json["layers"][1]["v"]["int2-token"], report_.kl[5 + 3]);
  EXPECT_EQ(json["texts"], nlohmann::json({"text"}));
  ASSERT_EQ(json["maps"].size(), 2);
  EXPECT_EQ(json["maps"][0]["name"], "map-4.00");
  EXPECT_EQ(json["maps"][0]["target_bits"], 4.0);
  EXPECT_LE(json["maps"][0]["bits_per_element"], 4.0);
  EXPECT_EQ(json["maps"][1]["estimated_kl_mean"], report_.maps[1].estimated_kl);
  EXPECT_EQ(json["maps"][1]["config"], report_.maps[1].config.ToString());
}

TEST_F(LayerReportTest, ListCanBeMeasuredAndSaysWhatCannotBeMet) {
  report_.search.escalated = {0, 1};
  Measure();
  const std::string list = LayersList(report_);
  EXPECT_THAT(list, testing::HasSubstr("# 1.00: even the cheapest candidates take more bits"));
  EXPECT_THAT(list, testing::HasSubstr("start one candidate up: 0, 1\n"));
  const auto configs = ParseFidelityList(list);
  ASSERT_TRUE(configs.ok()) << configs.status();
  ASSERT_EQ(configs->size(), 2);
  EXPECT_EQ((*configs)[1].name, "map-6.00");
  EXPECT_EQ((*configs)[1].config, report_.maps[1].config);
}

// The sum of single effects is about what all of them do together.
TEST_F(LayerReportTest, EstimateIsOfTheOrderOfWhatIsMeasured) {
  Measure();
  auto journal = Journal::Open(folder_.File("maps.journal"));
  const auto configs = ParseFidelityList(LayersList(report_));
  ASSERT_TRUE(journal.ok() && configs.ok());
  const auto results = MeasureFidelity(*engine_, texts_, *configs, report_.fidelity, *journal);
  ASSERT_TRUE(results.ok()) << results.status();
  for (size_t i = 0; i < results->size(); ++i) {
    const double measured = MeanKl((*results)[i]), estimated = report_.maps[i].estimated_kl;
    EXPECT_GT(measured, estimated / 3) << i;
    EXPECT_LT(measured, estimated * 3) << i;
  }
}

}  // namespace
}  // namespace kvpareto::tune
