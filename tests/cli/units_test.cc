#include "clients/cli/units.h"

#include <gtest/gtest.h>

#include <limits>

namespace kvpareto::cli {
namespace {

TEST(ParseBytesTest, ReadsNumbersWithAndWithoutUnits) {
  EXPECT_EQ(*ParseBytes("0"), 0u);
  EXPECT_EQ(*ParseBytes("1048576"), 1048576u);
  EXPECT_EQ(*ParseBytes("64MiB"), 64u << 20);
  EXPECT_EQ(*ParseBytes(" 1.5 GiB "), 3u << 29);
  EXPECT_EQ(*ParseBytes("2kB"), 2000u);
  EXPECT_EQ(*ParseBytes("0.3B"), 0u);
}

TEST(ParseBytesTest, RefusesEverythingElse) {
  for (const char* text : {"", "MiB", "-1", "1..2", "64Mi", "64 mib", "1 MiB x", "nan", "9e9",
                           "99999999999TiB", "."}) {
    EXPECT_FALSE(ParseBytes(text).ok()) << text;
  }
}

TEST(FormatBytesTest, ThreeDigits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1000), "0.98 KiB");
  EXPECT_EQ(FormatBytes(1536), "1.50 KiB");
  EXPECT_EQ(FormatBytes(64u << 20), "64.0 MiB");
  EXPECT_EQ(FormatBytes(1023u << 20), "1.00 GiB");
  EXPECT_EQ(FormatBytes(std::numeric_limits<uint64_t>::max()), "16777216 TiB");
}

TEST(FormatCountTest, GroupsDigits) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
}

TEST(BarTest, IsAlwaysOfTheSameWidth) {
  EXPECT_EQ(Bar(0.0, 4, false), "....");
  EXPECT_EQ(Bar(0.5, 4, false), "##..");
  EXPECT_EQ(Bar(7.0, 4, false), "####");
  EXPECT_EQ(Bar(std::numeric_limits<double>::quiet_NaN(), 4, false), "....");
  EXPECT_EQ(Bar(0.5, 4, true), "██  ");
  EXPECT_EQ(Bar(0.3125, 2, true), "▋ ");
  EXPECT_EQ(Bar(1.0, 2, true), "██");
}

}  // namespace
}  // namespace kvpareto::cli
