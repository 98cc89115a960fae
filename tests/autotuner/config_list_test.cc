#include "autotuner/config_list.h"

#include <set>

#include "engine/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

ModelConfig Model(int head_dim) {
  ModelConfig model;
  model.layers = 2;
  model.kv_heads = 2;
  model.head_dim = head_dim;
  return model;
}

TEST(BuiltInConfigsTest, IsAGridWithUniqueNames) {
  const auto configs = BuiltInConfigs({.recent_tokens = {0, 128}, .chunk_tokens = {128, 256}});
  ASSERT_TRUE(configs.ok()) << configs.status();
  std::set<std::string> names, texts;
  int bf16 = 0;
  for (const NamedConfig& named : *configs) {
    EXPECT_TRUE(names.insert(named.name).second) << named.name;
    EXPECT_TRUE(texts.insert(named.config.ToString()).second) << named.name;
    EXPECT_TRUE(named.config.ValidateFor(Model(64)).ok()) << named.name;
    bf16 += named.config.is_bf16() ? 1 : 0;
  }
  EXPECT_EQ(bf16, 2);
  EXPECT_EQ((configs->size() - 2) % 4, 0);
  EXPECT_THAT(names, testing::Contains("k4c-v4t32-r128-c256"));
  EXPECT_THAT(names, testing::Contains("k3c-v3t-balanced-r128-c256"));
}

TEST(ParseConfigListTest, ReadsNamesAndSkipsComments) {
  const auto configs = ParseConfigList(
      "# a comment\n\n"
      "small k=int4-channel v=int4-token sink=16 recent=0 chunk=256\n"
      "  large\tk=int8-token v=int8-token chunk=512\n");
  ASSERT_TRUE(configs.ok()) << configs.status();
  ASSERT_EQ(configs->size(), 2);
  EXPECT_EQ((*configs)[0].name, "small");
  EXPECT_EQ((*configs)[1].name, "large");
  EXPECT_EQ((*configs)[1].config.prefill_chunk_tokens, 512);
}

TEST(ParseConfigListTest, RefusesWithTheLine) {
  for (const auto& [text, line] : std::vector<std::pair<std::string, std::string>>{
           {"a k=bf16 v=bf16\nb k=int5-token v=bf16\n", "line 2"},
           {"a k=bf16 v=bf16\n\na k=int8-token v=int8-token\n", "line 3"},
           {"lonely\n", "line 1"},
           {"", "line 1"}}) {
    const auto configs = ParseConfigList(text);
    ASSERT_FALSE(configs.ok()) << text;
    EXPECT_EQ(configs.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(configs.status().message()), testing::HasSubstr(line));
  }
}

TEST(ForModelTest, DropsWhatTheModelCannotUseAndAddsBf16) {
  const auto configs = ParseConfigList(
      "g32 k=int4-token-g32 v=int4-token-g32\n"
      "static k=int8-tensor v=int8-tensor\n"
      "whole k=int4-token v=int4-token chunk=128\n");
  ASSERT_TRUE(configs.ok()) << configs.status();
  std::vector<std::string> dropped;
  const auto usable = ForModel(*configs, Model(80), nullptr, &dropped);
  EXPECT_THAT(dropped, testing::ElementsAre("g32", "static"));
  ASSERT_EQ(usable.size(), 2);
  EXPECT_TRUE(usable[0].config.is_bf16());
  EXPECT_EQ(usable[0].config.prefill_chunk_tokens, 128);
  EXPECT_EQ(usable[1].name, "whole");

  Calibration ranges;
  ranges.tensors["k_range.plain"] = ranges.tensors["v_range.plain"] = {};
  dropped.clear();
  EXPECT_EQ(ForModel(*configs, Model(80), &ranges, &dropped).size(), 3);
  EXPECT_THAT(dropped, testing::ElementsAre("g32"));
}

TEST(ForModelTest, DropsWhatTheCalibrationDoesNotHold) {
  const auto configs = BuiltInConfigs({.recent_tokens = {0}, .chunk_tokens = {256}});
  ASSERT_TRUE(configs.ok()) << configs.status();
  std::vector<std::string> dropped;
  ForModel(*configs, Model(64), nullptr, &dropped);
  EXPECT_THAT(dropped, testing::ElementsAre("k8t-v8t-unbiased-c256", "k4c-v4t-balanced-c256",
                                            "k3c-v3t-balanced-c256", "k2c-v2t-balanced-c256"));
  Calibration calibration;
  for (const char* name : {"key_bias", "key_mean_unbiased", "key_rotation.balanced"}) {
    calibration.tensors[name] = {};
  }
  dropped.clear();
  ForModel(*configs, Model(64), &calibration, &dropped);
  EXPECT_THAT(dropped, testing::ElementsAre("k4c-v4t-balanced-c256", "k3c-v3t-balanced-c256",
                                            "k2c-v2t-balanced-c256"));
  calibration.tensors["value_rotation.balanced"] = {};
  dropped.clear();
  EXPECT_EQ(ForModel(*configs, Model(64), &calibration, &dropped).size(), configs->size());
  EXPECT_TRUE(dropped.empty());
}

}  // namespace
}  // namespace kvpareto::tune
