#include "engine/text/stop_strings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace kvpareto {
namespace {

struct Result {
  std::string text;
  bool stopped = false;
  bool operator==(const Result&) const = default;
};

Result Stream(const std::vector<std::string>& stops, const std::vector<std::string>& deltas) {
  StopStrings matcher(stops);
  Result result;
  for (const std::string& delta : deltas) {
    if (matcher.Push(delta, result.text)) {
      result.stopped = true;
      break;
    }
  }
  result.text += matcher.Flush();
  return result;
}

// The definition: the stop string whose last byte comes first; of those, the longest.
Result Reference(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (!stop.empty() && text.substr(0, end).ends_with(stop)) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

TEST(StopStrings, PassesTextThroughWithoutStops) {
  EXPECT_EQ(Stream({}, {"abc", "def"}), (Result{"abcdef", false}));
  EXPECT_EQ(Stream({""}, {"abc"}), (Result{"abc", false}));
}

TEST(StopStrings, FindsAStopAcrossDeltas) {
  EXPECT_EQ(Stream({"STOP"}, {"hello ST", "O", "P world"}), (Result{"hello ", true}));
}

TEST(StopStrings, HoldsBackNoMoreThanAPossibleBeginning) {
  StopStrings matcher({"END"});
  std::string out;
  EXPECT_FALSE(matcher.Push("fooE", out));
  EXPECT_EQ(out, "foo");
  EXPECT_FALSE(matcher.Push("N", out));
  EXPECT_EQ(out, "foo");
  EXPECT_FALSE(matcher.Push("E", out));  // "ENE": only the last E can still begin a stop
  EXPECT_EQ(out, "fooEN");
  EXPECT_EQ(matcher.Flush(), "E");
}

TEST(StopStrings, EarliestCompletedWinsOverEarliestBegun) {
  EXPECT_EQ(Stream({"abcd", "bc"}, {"xabcd"}), (Result{"xa", true}));
}

TEST(StopStrings, LongestOfThoseCompletedTogether) {
  EXPECT_EQ(Stream({"b", "ab"}, {"xa", "b"}), (Result{"x", true}));
}

TEST(StopStrings, OverlappingPrefixOfItself) {
  EXPECT_EQ(Stream({"aab"}, {"a", "a", "a", "b"}), (Result{"a", true}));
  EXPECT_EQ(Stream({"abac"}, {"aba", "bac"}), (Result{"ab", true}));
}

TEST(StopStrings, NothingComesAfterAStop) {
  StopStrings matcher({"x"});
  std::string out;
  EXPECT_TRUE(matcher.Push("axb", out));
  EXPECT_TRUE(matcher.Push("c", out));
  EXPECT_EQ(out, "a");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopStrings, DoesNotCutCharacters) {
  StopStrings matcher({"é!"});
  std::string out;
  EXPECT_FALSE(matcher.Push("aé", out));
  EXPECT_EQ(out, "a");
  EXPECT_FALSE(matcher.Push("è", out));  // shares its first byte with é
  EXPECT_EQ(out, "aéè");
}

TEST(StopStrings, AgreesWithTheDefinitionHoweverTheTextIsCut) {
  std::mt19937 random(7);
  const auto word = [&](int max_length) {
    std::string text(random() % max_length + 1, 'a');
    for (char& c : text) c = "ab"[random() % 2];
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = random() % 3 + 1; i > 0; --i) stops.push_back(word(6));
    const std::string text = word(30);
    std::vector<std::string> deltas;
    for (size_t at = 0; at < text.size();) {
      deltas.push_back(text.substr(at, random() % 4));
      at += deltas.back().size();
    }
    ASSERT_EQ(Stream(stops, deltas), Reference(stops, text))
        << text << " / " << testing::PrintToString(stops);
  }
}

}  // namespace
}  // namespace kvpareto
