#include "engine/base/units.h"

#include <gtest/gtest.h>

namespace kvpareto {
namespace {

TEST(ParseByteSize, TakesNumbersAndUnits) {
  const std::pair<const char*, uint64_t> cases[] = {{"0", 0},
                                                    {"4096", 4096},
                                                    {"17B", 17},
                                                    {"64MiB", uint64_t{64} << 20},
                                                    {"64 MiB", uint64_t{64} << 20},
                                                    {"1.5GiB", uint64_t{3} << 29},
                                                    {"500MB", 500'000'000},
                                                    {"2kB", 2000},
                                                    {"0.5KiB", 512},
                                                    {"1TiB", uint64_t{1} << 40},
                                                    {"3TB", 3'000'000'000'000},
                                                    {"1GB", 1'000'000'000}};
  for (const auto& [text, bytes] : cases) {
    const auto parsed = ParseByteSize(text);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.status();
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(ParseByteSize, RefusesEverythingElse) {
  for (const char* text : {"", "MiB", "-1", "-1MiB", "1mib", "1XB", "1MiBs", "1  MiB", "nan", "inf",
                           "1e3", "0x10", "12345678901234567890123", "9999999TiB", "1,5GiB"}) {
    const auto parsed = ParseByteSize(text);
    EXPECT_FALSE(parsed.ok()) << text << " gave " << *parsed;
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(ParseDuration, NeedsAUnit) {
  using std::chrono::milliseconds;
  EXPECT_EQ(*ParseDuration("500ms"), milliseconds(500));
  EXPECT_EQ(*ParseDuration("30s"), milliseconds(30'000));
  EXPECT_EQ(*ParseDuration("1.5s"), milliseconds(1500));
  EXPECT_EQ(*ParseDuration("2m"), milliseconds(120'000));
  EXPECT_EQ(*ParseDuration("1h"), milliseconds(3'600'000));
  for (const char* text : {"", "30", "s", "-1s", "1d", "1 min"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

}  // namespace
}  // namespace kvpareto
