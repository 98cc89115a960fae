#include "server/log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace kvpareto::server {
namespace {

TEST(Log, WritesFieldsAsText) {
  EXPECT_EQ(FormatLogLine(LogFormat::kText, "T", "info", "request finished",
                          {{"id", "abc-1"},
                           {"tokens", int64_t{-3}},
                           {"bytes", uint64_t{18446744073709551615u}},
                           {"seconds", 0.5}}),
            "T info request finished id=abc-1 tokens=-3 bytes=18446744073709551615 seconds=0.5");
}

TEST(Log, QuotesWhatCouldForgeALineOrAField) {
  const std::string line =
      FormatLogLine(LogFormat::kText, "T", "info", "e",
                    {{"id", "x\nT error fake"}, {"b", "a code=OK"}, {"c", ""}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(line, R"(T info e id="x\nT error fake" b="a code=OK" c="")");
}

TEST(Log, WritesJson) {
  const std::string line = FormatLogLine(LogFormat::kJson, "T", "warning", "e",
                                         {{"id", "q\"\xff"}, {"n", int64_t{7}}, {"x", 1.5}});
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["time"], "T");
  EXPECT_EQ(json["level"], "warning");
  EXPECT_EQ(json["event"], "e");
  EXPECT_EQ(json["n"], 7);
  EXPECT_EQ(json["x"], 1.5);
  EXPECT_EQ(json["id"], "q\"\xEF\xBF\xBD");
}

TEST(Log, LevelsChangeAtRunTime) {
  const auto lines_at = [](LogLevel level) {
    SetLogOptions({.format = LogFormat::kText, .level = level});
    testing::internal::CaptureStderr();
    LogDebug("d");
    LogInfo("i");
    LogWarning("w");
    LogError("e");
    const std::string written = testing::internal::GetCapturedStderr();
    return std::count(written.begin(), written.end(), '\n');
  };
  EXPECT_EQ(lines_at(*FindLogLevel("debug")), 4);
  EXPECT_EQ(lines_at(*FindLogLevel("warning")), 2);
  EXPECT_EQ(lines_at(*FindLogLevel("error")), 1);
  EXPECT_EQ(lines_at(*FindLogLevel("info")), 3);
  EXPECT_FALSE(FindLogLevel("verbose").has_value());
}

}  // namespace
}  // namespace kvpareto::server
