// A real model end to end, where scripts/fetch_model.sh has brought it: what the search finds in a
// few samples of text predicts other text better than plain rounding.
#include <filesystem>

#include "autotuner/awq.h"
#include "autotuner/perplexity.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace kvpareto::tune {
namespace {

const std::string kModel =
    std::string(KVPARETO_SOURCE_DIR) + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";

// Half of a novel's chapters: the first is calibrated on, the second predicted.
NamedText Half(int half) {
  const std::string text = support::ReadBytes(std::string(KVPARETO_SOURCE_DIR) +
                                              "/deploy/samples/northanger_abbey_prompt.txt");
  const size_t middle = text.size() / 2;
  return {half == 0 ? "first half" : "second half",
          half == 0 ? text.substr(0, middle) : text.substr(middle)};
}

double MeanNll(const std::string& model) {
  EngineOptions options;
  options.model_path = model;
  options.kv_capacity_bytes = uint64_t{64} << 20;
  options.device = "cpu";
  const auto engine = Engine::Create(options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  const auto pieces = CutPieces(**engine, {Half(1)}, 768, 256);
  Progress progress("tokens", pieces->tokens);
  const auto result = MeasurePerplexity(**engine, pieces->pieces, progress);
  EXPECT_TRUE(result.ok()) << result.status();
  return result->mean_nll;
}

TEST(AwqSmolLm2, BeatsPlainRoundingOnOtherText) {
  if (!std::filesystem::exists(kModel)) GTEST_SKIP() << "no " << kModel;
  const support::TempDir folder;
  AwqOptions options;
  options.model_path = kModel;
  options.group_size = 64;  // divides 576
  options.samples = 8;
  options.sample_tokens = 128;
  options.search_samples = 1;
  options.grid = 0;
  options.clip = false;
  options.rounding = Rounding::kNearest;
  options.output_path = folder.File("plain");
  ASSERT_TRUE(QuantizeAwq(options, {}).ok());
  options.grid = 2;
  options.clip = true;
  options.rounding = Rounding::kGptq;
  options.output_path = folder.File("awq");
  const auto found = QuantizeAwq(options, {Half(0)});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->searched.size(), 90);  // 30 layers, grouped-query attention
  const double exact = MeanNll(kModel), plain = MeanNll(folder.File("plain")),
               awq = MeanNll(folder.File("awq"));
  EXPECT_LT(awq - exact, 0.7 * (plain - exact)) << exact << " " << plain << " " << awq;
}

}  // namespace
}  // namespace kvpareto::tune
