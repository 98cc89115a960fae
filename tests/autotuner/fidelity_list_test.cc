#include "autotuner/fidelity_list.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

std::string ReasonOf(std::string_view list) {
  const auto result = ParseFidelityList(list);
  EXPECT_FALSE(result.ok());
  return result.ok() ? "" : GetErrorInfo(result.status())->reason;
}

TEST(ParseFidelityListTest, WordsMayStandBeforeAndBetweenThoseOfTheConfig) {
  const auto list = ParseFidelityList(
      "# baselines\n"
      "A encode_on_write k=int4-token-g64-smooth v=int4-token-g64 sink=0\n"
      "\n"
      "  best  needle k=int4-channel baseline=A,plain v=int4-token recent=128\r\n"
      "plain k=int4-token v=int4-token\n");
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->size(), 3);
  const auto& [a, best, plain] = std::tie((*list)[0], (*list)[1], (*list)[2]);
  EXPECT_TRUE(a.encode_on_write);
  EXPECT_FALSE(a.needle);
  EXPECT_EQ(best.name, "best");
  EXPECT_TRUE(best.needle);
  EXPECT_FALSE(best.encode_on_write);
  EXPECT_THAT(best.baselines, testing::ElementsAre("A", "plain"));
  EXPECT_EQ(best.config, *KvConfig::Parse("k=int4-channel v=int4-token recent=128"));
  EXPECT_TRUE(plain.baselines.empty());
}

TEST(ParseFidelityListTest, IdentityTellsHowACacheIsWritten) {
  const auto list = ParseFidelityList(
      "a encode_on_write k=int4-token v=int4-token\nb needle baseline=a k=int4-token "
      "v=int4-token\n");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_NE((*list)[0].Identity(), (*list)[1].Identity());
  EXPECT_EQ((*list)[1].Identity(), (*list)[1].config.ToString());
}

TEST(ParseFidelityListTest, RefusesWhatItCannotMean) {
  EXPECT_EQ(ReasonOf(""), "CONFIG_LIST_INVALID");
  EXPECT_EQ(ReasonOf("# nothing\n"), "CONFIG_LIST_INVALID");
  EXPECT_EQ(ReasonOf("a\n"), "CONFIG_LIST_INVALID");
  EXPECT_EQ(ReasonOf("a encode_on_write\n"), "CONFIG_LIST_INVALID");
  EXPECT_EQ(ReasonOf("a k=bf16 v=bf16\na k=bf16 v=bf16\n"), "CONFIG_LIST_INVALID");
  EXPECT_EQ(ReasonOf("a baseline=b k=bf16 v=bf16\n"), "CONFIG_LIST_INVALID");
  EXPECT_EQ(ReasonOf("a k=int5 v=bf16\n"), "KV_CONFIG_INVALID");
  EXPECT_EQ(ReasonOf("a needles k=bf16 v=bf16\n"), "KV_CONFIG_INVALID");
}

TEST(BitsOfTest, CountsWhatEachWayOfWritingStores) {
  ModelConfig model;
  model.layers = 2;
  model.heads = model.kv_heads = 2;
  model.head_dim = 64;
  const auto list = ParseFidelityList(
      "a encode_on_write k=int4-token v=int4-token sink=0\nb k=int4-token v=int4-token sink=0\n"
      "c encode_on_write k=int4-channel v=int4-token\n");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_DOUBLE_EQ(*BitsOf((*list)[0], model, 100), 4.5);
  EXPECT_DOUBLE_EQ(*BitsOf((*list)[1], model, 100), (64 * 4.5 + 64 * 16) / 100);  // an open block
  EXPECT_EQ(GetErrorInfo(BitsOf((*list)[2], model, 100).status())->reason, "CODEC_NEEDS_BLOCKS");
}

}  // namespace
}  // namespace kvpareto::tune
