#include "clients/cli/args.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvpareto::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<Flag> kFlags = {
    {"budget", "BYTES", ""}, {"stop", "TEXT", ""}, {"explain", "", ""}, {"n", "COUNT", ""}};

absl::StatusOr<Args> Parse(const std::vector<std::string>& words) {
  return Args::Parse(kFlags, words);
}

TEST(ArgsTest, ReadsFlagsInEveryForm) {
  const auto args = Parse({"--budget", "64MiB", "a", "-n", "3", "--stop=x", "--stop", "=y",
                           "--explain", "b", "--server=h:1"});
  ASSERT_TRUE(args.ok()) << args.status();
  EXPECT_EQ(args->Text("budget"), "64MiB");
  EXPECT_THAT(args->All("stop"), ElementsAre("x", "=y"));
  EXPECT_TRUE(args->Has("explain"));
  EXPECT_EQ(args->Text("server"), "h:1");
  EXPECT_THAT(args->words(), ElementsAre("a", "b"));
  int32_t n = 0;
  ASSERT_TRUE(args->Read("n", &n).ok());
  EXPECT_EQ(n, 3);
}

TEST(ArgsTest, AbsentFlagsLeaveTheDefault) {
  const auto args = Parse({});
  ASSERT_TRUE(args.ok());
  double value = 2.5;
  EXPECT_TRUE(args->Read("budget", &value).ok());
  EXPECT_EQ(value, 2.5);
  EXPECT_EQ(args->Text("budget", "none"), "none");
}

TEST(ArgsTest, DoubleDashEndsFlagsAndDashIsAWord) {
  const auto args = Parse({"-", "--", "--budget", "-n"});
  ASSERT_TRUE(args.ok()) << args.status();
  EXPECT_THAT(args->words(), ElementsAre("-", "--budget", "-n"));
}

TEST(ArgsTest, RefusesWhatItDoesNotKnow) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"--bugdet", "1"}, {"-budget", "1"}, {"-x"}, {"--explain=1"}, {"--budget"}}) {
    const auto args = Parse(words);
    ASSERT_FALSE(args.ok()) << words[0];
    EXPECT_EQ(args.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(args.status().message()), HasSubstr(words[0].substr(0, 2)));
  }
}

TEST(ArgsTest, RefusesValuesOfTheWrongType) {
  const auto args = Parse({"-n", "3x", "--budget", "1e"});
  ASSERT_TRUE(args.ok());
  int32_t n = 7;
  EXPECT_EQ(std::string(args->Read("n", &n).message()), "--n 3x: expected a whole number");
  EXPECT_EQ(n, 7);
  uint64_t seed = 0;
  EXPECT_FALSE(Parse({"-n", "-1"})->Read("n", &seed).ok());
  EXPECT_FALSE(Parse({"-n", "99999999999"})->Read("n", &n).ok());
  double budget = 0.0;
  EXPECT_FALSE(args->Read("budget", &budget).ok());
}

}  // namespace
}  // namespace kvpareto::cli
