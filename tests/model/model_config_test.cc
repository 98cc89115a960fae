#include "engine/model/model_config.h"

#include <cmath>
#include <functional>
#include <limits>

#include "gtest/gtest.h"
#include "tests/model/status_matchers.h"

namespace kvpareto {
namespace {

ModelConfig ValidConfig() {
  ModelConfig config;
  config.layers = 2;
  config.hidden = 128;
  config.ffn = 256;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 32;
  config.vocab = 320;
  config.context_tokens = 4096;
  config.inverse_frequency = RopeInverseFrequency(10000.0, 32);
  config.eos_tokens = {2};
  return config;
}

TEST(ModelConfig, ValidOnePasses) { EXPECT_TRUE(ValidConfig().Validate().ok()); }

TEST(ModelConfig, EveryPublishedHeadSizePasses) {
  for (int head_dim : {16, 64, 80, 96, 112, 128, 256}) {
    ModelConfig config = ValidConfig();
    config.head_dim = head_dim;
    config.inverse_frequency = RopeInverseFrequency(10000.0, head_dim);
    EXPECT_TRUE(config.Validate().ok()) << head_dim << ": " << config.Validate();
  }
}

TEST(ModelConfig, EachFieldIsCheckedAndNamed) {
  struct Case {
    const char* field;
    std::function<void(ModelConfig&)> spoil;
  };
  constexpr int kMax = std::numeric_limits<int>::max();
  const Case cases[] = {
      {"layers", [](ModelConfig& c) { c.layers = 0; }},
      {"layers", [](ModelConfig& c) { c.layers = kMax; }},
      {"hidden", [](ModelConfig& c) { c.hidden = -1; }},
      {"ffn", [](ModelConfig& c) { c.ffn = kMax; }},
      {"vocab", [](ModelConfig& c) { c.vocab = 0; }},
      {"context_tokens", [](ModelConfig& c) { c.context_tokens = kMax; }},
      {"sliding_window", [](ModelConfig& c) { c.sliding_window = -1; }},
      {"heads", [](ModelConfig& c) { c.heads = kMax; }},
      {"kv_heads", [](ModelConfig& c) { c.kv_heads = 0; }},
      {"kv_heads", [](ModelConfig& c) { c.kv_heads = 3; }},
      {"kv_heads", [](ModelConfig& c) { c.kv_heads = 8; }},
      {"head_dim", [](ModelConfig& c) { c.head_dim = 0; }},
      {"head_dim", [](ModelConfig& c) { c.head_dim = 33; }},
      {"head_dim", [](ModelConfig& c) { c.head_dim = 24; }},
      {"head_dim", [](ModelConfig& c) { c.head_dim = 272; }},
      {"rms_epsilon", [](ModelConfig& c) { c.rms_epsilon = 0.0f; }},
      {"rms_epsilon", [](ModelConfig& c) { c.rms_epsilon = std::nanf(""); }},
      {"inverse_frequency", [](ModelConfig& c) { c.inverse_frequency.pop_back(); }},
      {"inverse_frequency", [](ModelConfig& c) { c.inverse_frequency[3] = std::nanf(""); }},
      {"inverse_frequency", [](ModelConfig& c) { c.inverse_frequency[0] = 2.0f; }},
      {"bos_token", [](ModelConfig& c) { c.bos_token = 320; }},
      {"eos_tokens",
       [](ModelConfig& c) {
         c.eos_tokens = {2, 320};
       }},
      {"eos_tokens", [](ModelConfig& c) { c.eos_tokens = {-1}; }},
  };
  for (const Case& test : cases) {
    ModelConfig config = ValidConfig();
    test.spoil(config);
    EXPECT_TRUE(Fails(config.Validate(), "MODEL_CONFIG_INVALID", test.field));
  }
}

TEST(Rope, FrequenciesFallGeometrically) {
  const std::vector<float> frequencies = RopeInverseFrequency(10000.0, 4);
  ASSERT_EQ(frequencies.size(), 2u);
  EXPECT_EQ(frequencies[0], 1.0f);
  EXPECT_EQ(frequencies[1], 0.01f);
}

TEST(Rope, LinearScalingDivides) {
  std::vector<float> frequencies = {1.0f, 0.5f};
  ApplyLinearRopeScaling(4.0, frequencies);
  EXPECT_EQ(frequencies, (std::vector<float>{0.25f, 0.125f}));
}

// transformers' values for Llama-3.1 (base 500000, head size 8, the default parameters): the first
// pairs stay, the last is divided by 8, the third lies between.
TEST(Rope, Llama3ScalingMatchesTransformers) {
  std::vector<float> frequencies = RopeInverseFrequency(500000.0, 8);
  ApplyLlama3RopeScaling({}, frequencies);
  const float expected[] = {1.0f, 0.03760603070f, 0.0005248460220f, 6.647869668e-06f};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(frequencies[i], expected[i], 2e-6f * expected[i]) << i;
}

}  // namespace
}  // namespace kvpareto
