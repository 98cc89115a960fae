#include "autotuner/search_space.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

std::vector<std::string> Names(const std::vector<SpaceConfig>& configs) {
  std::vector<std::string> names;
  for (const SpaceConfig& config : configs) names.push_back(config.named.name);
  return names;
}

TEST(ExpandSpaceTest, EveryCombinationAndABf16OfEveryChunk) {
  SearchSpace space;
  space.grids.push_back({.pairs = {"int8-token/int8-token", "int4-channel/int4-token-g32"},
                         .recent = {0, 128},
                         .chunk = {128, 256}});
  const auto all = ExpandSpace(space);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_THAT(Names(*all), testing::UnorderedElementsAre(
                               "k8t-v8t-c128", "k8t-v8t-r128-c128", "k8t-v8t-c256",
                               "k8t-v8t-r128-c256", "k4c-v4t32-c128", "k4c-v4t32-r128-c128",
                               "k4c-v4t32-c256", "k4c-v4t32-r128-c256", "bf16-c128", "bf16-c256"));
  for (const SpaceConfig& config : *all) {
    EXPECT_EQ(config.group == ConfigGroup::kReference, config.named.config.is_bf16());
    EXPECT_EQ(config.named.config.sink_tokens, 16) << "a request cannot change its sink";
  }
}

TEST(ExpandSpaceTest, RefusesMoreCombinationsThanCanBeMeasured) {
  const std::vector<int64_t> many(1000, 64);
  SearchSpace space;
  space.grids.push_back({.pairs = {"bf16/bf16"}, .sink = many, .recent = many, .chunk = many});
  const auto all = ExpandSpace(space);
  ASSERT_FALSE(all.ok());
  EXPECT_EQ(GetErrorInfo(all.status())->reason, "SEARCH_SPACE_INVALID");
}

TEST(ExpandSpaceTest, CodecsFromBitsGranularityAndGroup) {
  SearchSpace space;
  space.grids.push_back({.bits = {"8/4", "4/4"},
                         .k_granularity = {"channel"},
                         .v_granularity = {"token"},
                         .group = {32, 64}});
  const auto all = ExpandSpace(space);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_THAT(Names(*all), testing::ElementsAre("k8c-v4t32-c256", "k8c-v4t64-c256",
                                                "k4c-v4t32-c256", "k4c-v4t64-c256", "bf16-c256"));
}

TEST(ExpandSpaceTest, WhatIsNamedByHandComesFirstAndOnce) {
  const auto config = KvConfig::Parse("k=int8-token v=int8-token");
  ASSERT_TRUE(config.ok());
  SearchSpace space;
  space.configs.push_back({.named = {"mine", *config}, .group = ConfigGroup::kPaper});
  space.grids.push_back({.pairs = {"int8-token/int8-token"}});
  const auto all = ExpandSpace(space);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_THAT(Names(*all), testing::ElementsAre("mine", "bf16-c256"));
  EXPECT_EQ(all->front().group, ConfigGroup::kPaper);
}

TEST(ExpandSpaceTest, RefusesWhatIsNoSpace) {
  const auto reason = [](SpaceGrid grid) {
    const auto all = ExpandSpace({.grids = {std::move(grid)}, .configs = {}});
    return all.ok() ? "" : GetErrorInfo(all.status())->reason;
  };
  EXPECT_EQ(reason({}), "SEARCH_SPACE_INVALID");
  EXPECT_EQ(reason({.bits = {"4/4"}}), "SEARCH_SPACE_INVALID");
  EXPECT_EQ(reason({.pairs = {"bf16/bf16"}, .bits = {"4/4"}}), "SEARCH_SPACE_INVALID");
  EXPECT_EQ(reason({.pairs = {"int4-channel"}}), "KV_CONFIG_INVALID");
  EXPECT_EQ(reason({.pairs = {"bf16/bf16"}, .chunk = {100}}), "KV_CONFIG_INVALID");
}

TEST(ShortNameTest, TellsConfigsApart) {
  const std::vector<std::string> texts = {
      "k=int4-channel v=int4-token",
      "k=int4-channel v=int4-token sink=0",
      "k=int4-channel v=int4-token krot=balanced vrot=balanced",
      "k=int4-channel v=int4-token krot=balanced",
      "k=int4-channel v=int4-token krot=hadamard vrot=balanced kcenter=static kbias=remove",
      "k=int4-channel v=int4-token kclip=0.9 vclip=auto",
      "k=int4-token-g64-smooth v=int4-token-g64",
      "k=int4-token-g64 v=int4-token-g64",
      "k=int4-tensor v=int4-token",
      "k=fp8-e4m3 v=fp8-e4m3",
      "k=int4-channel v=int4-token layers=0:bf16/bf16",
      "k=int4-channel v=int4-token layers=1:bf16/bf16",
  };
  std::vector<std::string> names;
  for (const std::string& text : texts) {
    const auto config = KvConfig::Parse(text);
    ASSERT_TRUE(config.ok()) << config.status();
    names.push_back(ShortName(*config));
    EXPECT_LE(names.back().size(), 64) << "what a table's row may be called";
    EXPECT_EQ(names.back().find_first_not_of("abcdefghijklmnopqrstuvwxyzL0123456789._-"),
              std::string::npos)
        << names.back();
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(TechniquesOfTest, NamesWhatIsThere) {
  const auto config = KvConfig::Parse(
      "k=int4-channel v=int4-token sink=16 recent=128 krot=balanced kcenter=static "
      "layers=0:bf16/bf16");
  ASSERT_TRUE(config.ok());
  EXPECT_THAT(TechniquesOf(*config), testing::ElementsAre("channel keys", "sink", "recent",
                                                          "rotation", "centring", "layers"));
  EXPECT_TRUE(TechniquesOf(KvConfig::Bf16()).empty());
}

}  // namespace
}  // namespace kvpareto::tune
