// Fidelity runs on a tiny random model, and what is made of their results.
#include "autotuner/fidelity_run.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "autotuner/fidelity_report.h"
#include "gmock/gmock.h"
#include "tests/autotuner/counting_engine.h"
#include "tests/autotuner/tiny_engine.h"

namespace kvpareto::tune {
namespace {

constexpr char kList[] =
    "bf16 k=bf16 v=bf16 sink=0 recent=0\n"
    "int8 k=int8-channel v=int8-token sink=16 recent=0\n"
    "int4 baseline=int8,written k=int4-channel v=int4-token sink=16 recent=0\n"
    "written encode_on_write k=int4-token-g64-smooth v=int4-token-g64 sink=0 recent=0\n"
    "int2 k=int2-channel v=int2-token sink=16 recent=0\n";

class FidelityRunTest : public TinyEngineTest {
 protected:
  FidelityRunTest() {
    for (const int tokens : {300, 211}) {
      auto ids = engine_->Tokenize(Prose(2 * tokens));
      EXPECT_TRUE(ids.ok()) << ids.status();
      ids->erase(ids->begin(), ids->end() - tokens);
      texts_.push_back({.name = "text " + std::to_string(tokens), .tokens = *std::move(ids)});
    }
    options_.first = 100;
    options_.stride = 7;
  }

  std::vector<ConfigFidelity> Measure(const std::string& list) {
    auto configs = ParseFidelityList(list);
    EXPECT_TRUE(configs.ok()) << configs.status();
    auto journal = Journal::Open(folder_.File("run.journal"));
    EXPECT_TRUE(journal.ok()) << journal.status();
    CountingEngine counting(*engine_);
    auto results = MeasureFidelity(counting, texts_, *configs, options_, *journal);
    EXPECT_TRUE(results.ok()) << results.status();
    scored_ = counting.scored();
    return results.ok() ? *std::move(results) : std::vector<ConfigFidelity>{};
  }

  static double MeanKl(const ConfigFidelity& config) {
    double sum = 0.0, count = 0.0;
    for (const TextFidelity& text : config.texts) {
      for (const PositionFidelity& position : text.positions) {
        sum += position.kl;
        ++count;
      }
    }
    return sum / count;
  }

  std::vector<TokenizedText> texts_;
  FidelityOptions options_;
  int scored_ = 0;  // runs of the model in the last Measure
};

TEST_F(FidelityRunTest, FewerBitsDivergeMore) {
  const auto results = Measure(kList);
  ASSERT_EQ(results.size(), 5);
  for (const ConfigFidelity& result : results) {
    ASSERT_EQ(result.texts.size(), 2);
    EXPECT_EQ(result.texts[0].positions.size(), 29);  // 100, 107, ... 296 of 299 with successors
    EXPECT_EQ(result.texts[1].positions.size(), 16);
  }
  EXPECT_GT(MeanKl(results[0]), 0.0);  // bf16 against f32
  EXPECT_GT(MeanKl(results[2]), 2 * MeanKl(results[1]));
  EXPECT_GT(MeanKl(results[3]), MeanKl(results[2]));
  EXPECT_GT(MeanKl(results[4]), 2 * MeanKl(results[2]));
}

TEST_F(FidelityRunTest, TheReferenceDoesNotDivergeFromItself) {
  for (const bool prefill : {false, true}) {
    options_.prefill_arithmetic = prefill;
    options_.reference = KvConfig::Bf16();
    const auto results = Measure("bf16 k=bf16 v=bf16 sink=0 recent=0\n");
    ASSERT_EQ(results.size(), 1);
    for (const TextFidelity& text : results[0].texts) {
      for (const PositionFidelity& position : text.positions) {
        ASSERT_EQ(position.kl, 0.0);
        ASSERT_TRUE(position.same_top);
        ASSERT_EQ(position.reference_nll, position.candidate_nll);
      }
    }
  }
}

// The same numbers by hand, one token a step.
TEST_F(FidelityRunTest, ComparesTheDistributionsOfDecodedTokens) {
  const std::string text = "k=int4-channel v=int4-token sink=16 recent=0";
  const auto results = Measure("int4 " + text + "\n");
  ASSERT_EQ(results.size(), 1);
  const size_t vocab = engine_->model().config.vocab;
  const auto logits = [&](const KvConfig& config) {
    std::vector<float> all;
    const absl::Status status =
        engine_->Score(texts_[0].tokens, config, {.decode_from = 0, .max_decode_rows = 1},
                       [&](int64_t, std::span<const float> rows) {
                         all.insert(all.end(), rows.begin(), rows.end());
                       });
    EXPECT_TRUE(status.ok()) << status;
    return all;
  };
  const std::vector<float> f32 = logits(KvConfig::F32()), int4 = logits(*KvConfig::Parse(text));
  const auto log_probabilities = [&](const std::vector<float>& all, size_t position) {
    std::vector<double> row(all.begin() + position * vocab, all.begin() + (position + 1) * vocab);
    double sum = 0.0;
    for (const double x : row) sum += std::exp(x);
    for (double& x : row) x -= std::log(sum);
    return row;
  };
  const auto& positions = results[0].texts[0].positions;
  for (size_t i = 0; i < positions.size(); ++i) {
    const size_t position = 100 + 7 * i;
    const auto p = log_probabilities(f32, position), q = log_probabilities(int4, position);
    double kl = 0.0;
    for (size_t v = 0; v < vocab; ++v) kl += std::exp(p[v]) * (p[v] - q[v]);
    const int32_t next = texts_[0].tokens[position + 1];
    EXPECT_NEAR(positions[i].kl, kl, 1e-6 + 1e-3 * kl) << position;
    EXPECT_NEAR(positions[i].reference_nll, -p[next], 1e-5);
    EXPECT_NEAR(positions[i].candidate_nll, -q[next], 1e-5);
    EXPECT_EQ(positions[i].same_top, std::max_element(p.begin(), p.end()) - p.begin() ==
                                         std::max_element(q.begin(), q.end()) - q.begin());
  }
}

TEST_F(FidelityRunTest, GoesOnWhereItStopped) {
  const auto size = [&] { return std::filesystem::file_size(folder_.File("run.journal")); };
  const std::string first = "int4 k=int4-channel v=int4-token sink=16 recent=0\n";
  const auto before = Measure(first);
  EXPECT_EQ(scored_, 2 + 2);  // the reference and the config on both texts
  const auto one_config = size();
  // Whatever is known already, results stand in the order of the list.
  const auto again = Measure("int8 k=int8-channel v=int8-token sink=16 recent=0\n" + first);
  EXPECT_EQ(scored_, 2 + 2);
  ASSERT_EQ(again.size(), 2);
  EXPECT_EQ(again[0].measured.name, "int8");
  EXPECT_EQ(again[1].measured.name, "int4");
  EXPECT_LT(MeanKl(again[0]), MeanKl(again[1]));
  EXPECT_EQ(MeanKl(again[1]), MeanKl(before[0]));
  const auto two_configs = size();
  EXPECT_GT(two_configs, one_config);
  const auto renamed = Measure("other-name k=int4-channel v=int4-token sink=16 recent=0\n");
  EXPECT_EQ(scored_, 0);
  EXPECT_EQ(size(), two_configs);
  ASSERT_EQ(renamed.size(), 1);
  EXPECT_EQ(renamed[0].measured.name, "other-name");
  EXPECT_EQ(renamed[0].texts[1].text, "text 211");
  // What a result depends on makes it another one.
  options_.stride = 5;
  Measure(first);
  EXPECT_GT(size(), two_configs);
}

TEST_F(FidelityRunTest, RefusesTextsOfWhichNothingCounts) {
  options_.first = 210;
  auto journal = Journal::Open(folder_.File("run.journal"));
  const auto configs = ParseFidelityList(kList);
  const auto results = MeasureFidelity(*engine_, texts_, *configs, options_, *journal);
  EXPECT_EQ(GetErrorInfo(results.status())->reason, "NOTHING_COUNTED");
}

ConfigFidelity Made(const std::string& name, const std::vector<double>& kls) {
  ConfigFidelity config;
  config.measured.name = name;
  config.texts.push_back({.text = "made.txt", .positions = {}});
  for (const double kl : kls) config.texts[0].positions.push_back({.kl = kl, .same_top = true});
  return config;
}

TEST(CompareMeanKlTest, PairsPositions) {
  // Positions differ a thousandfold, but the ratio is the same everywhere: no spread.
  std::vector<double> a, b;
  for (int i = 0; i < 1000; ++i) {
    b.push_back(std::pow(10.0, i % 4));
    a.push_back(3.0 * b.back());
  }
  const RatioInterval same = CompareMeanKl(Made("a", a), Made("b", b));
  EXPECT_NEAR(same.ratio, 3.0, 1e-12);
  EXPECT_NEAR(same.low, 3.0, 1e-12);
  EXPECT_NEAR(same.high, 3.0, 1e-12);
  // One run of ten is five times as bad: resampling takes it 0 to 3 times, as a rule.
  std::vector<double> c(640, 1.0);
  std::fill(c.begin(), c.begin() + 64, 5.0);
  const RatioInterval spread = CompareMeanKl(Made("c", c), Made("one", std::vector(640, 1.0)));
  EXPECT_NEAR(spread.ratio, 1.4, 1e-12);
  EXPECT_NEAR(spread.low, 1.0, 1e-12);
  EXPECT_NEAR(spread.high, 2.2, 1e-12);
}

TEST(CompareMeanKlTest, IntervalHoldsTheRatioAndIsTheSameEachTime) {
  std::mt19937 random(3);
  std::lognormal_distribution<double> draw(0.0, 2.0);
  std::vector<double> a(2000), b(2000);
  double sum_a = 0.0, sum_b = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum_a += a[i] = draw(random);
    sum_b += b[i] = draw(random);
  }
  const RatioInterval first = CompareMeanKl(Made("a", a), Made("b", b));
  EXPECT_NEAR(first.ratio, sum_a / sum_b, 1e-12 * sum_a / sum_b);
  EXPECT_LT(first.low, first.ratio);
  EXPECT_GT(first.high, first.ratio);
  const RatioInterval second = CompareMeanKl(Made("a", a), Made("b", b));
  EXPECT_EQ(first.low, second.low);
  EXPECT_EQ(first.high, second.high);
}

TEST_F(FidelityRunTest, ReportsWhatWasMeasured) {
  FidelityReport report{.model = "tiny", .command = "the command", .tokens = 300};
  report.options = options_;
  report.contexts = {200, 300};
  report.configs = Measure(kList);
  ASSERT_EQ(report.configs.size(), 5);
  report.bits = {16, 8.5, 4.7, 4.53, 2.5};
  report.needles["int4"] = 23;
  report.needle_questions = 24;
  const auto json = nlohmann::json::parse(FidelityJson(report));
  ASSERT_EQ(json["configs"].size(), 5);
  const auto& int4 = json["configs"][2];
  EXPECT_EQ(int4["name"], "int4");
  EXPECT_EQ(int4["bits_per_element"], 4.7);
  EXPECT_EQ(int4["all"]["positions"], 45);
  EXPECT_DOUBLE_EQ(int4["all"]["kl_mean"], MeanKl(report.configs[2]));
  EXPECT_EQ(int4["texts"]["text 300"]["positions"], 29);
  // A query at position p sees p + 1 tokens: 100 ... 198 of 100 + 7 i.
  EXPECT_EQ(int4["contexts"]["200"]["positions"], 2 * 15);
  EXPECT_EQ(int4["contexts"]["300"]["positions"], 15);
  EXPECT_NEAR(int4["kl_ratio"]["int8"]["ratio"],
              MeanKl(report.configs[2]) / MeanKl(report.configs[1]), 1e-9);
  EXPECT_TRUE(int4["kl_ratio"].contains("written"));
  EXPECT_EQ(int4["needle"]["answered"], 23);
  EXPECT_TRUE(json["configs"][3]["encode_on_write"]);
  const std::string markdown = FidelityMarkdown(report);
  EXPECT_THAT(markdown, testing::HasSubstr("| int4 | 4.70 |"));
  EXPECT_THAT(markdown, testing::HasSubstr("| 23/24 |"));
}

}  // namespace
}  // namespace kvpareto::tune
