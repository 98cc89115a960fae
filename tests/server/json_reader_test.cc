#include "server/json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

namespace kvpareto::server {
namespace {

using ::testing::ElementsAre;

JsonReader Read(const std::string& text, JsonReader::Numbers numbers = {}) {
  auto reader = JsonReader::Parse(text, "", numbers);
  EXPECT_TRUE(reader.ok()) << reader.status();
  return *std::move(reader);
}

std::string ReasonAndField(const absl::Status& status) {
  if (status.ok()) return "OK";
  const ErrorInfo info = *GetErrorInfo(status);
  return info.reason + " " + info.metadata.at("field");
}

TEST(JsonReader, ReadsEveryType) {
  JsonReader json = Read(
      R"({"b": true, "f": 0.5, "i": -7, "u": 18446744073709551615, "s": "x", "l": ["a", "b"],
          "one": "a", "ids": [1, 2], "null": null})");
  std::optional<bool> b;
  std::optional<float> f;
  std::optional<int32_t> i;
  std::optional<uint64_t> u, absent;
  std::string s;
  std::vector<std::string> l, one;
  std::vector<int32_t> ids;
  for (const absl::Status& status :
       {json.Read("b", &b), json.Read("f", &f), json.Read("i", &i), json.Read("u", &u),
        json.Read("s", &s), json.Read("l", &l), json.Read("one", &one), json.Read("ids", &ids),
        json.Read("null", &absent), json.Read("absent", &absent)}) {
    EXPECT_TRUE(status.ok()) << status;
  }
  EXPECT_EQ(b, true);
  EXPECT_EQ(f, 0.5f);
  EXPECT_EQ(i, -7);
  EXPECT_EQ(u, UINT64_MAX);
  EXPECT_EQ(s, "x");
  EXPECT_THAT(l, ElementsAre("a", "b"));
  EXPECT_THAT(one, ElementsAre("a"));
  EXPECT_THAT(ids, ElementsAre(1, 2));
  EXPECT_FALSE(absent.has_value());
  EXPECT_TRUE(json.CheckNoOtherKeys().ok());
}

TEST(JsonReader, RefusesWhatIsNoObject) {
  for (const char* text : {"", "{", "{\"a\":1}x", "{\"a\": \"\xff\"}", "{'a': 1}", "nan"}) {
    EXPECT_EQ(ReasonAndField(JsonReader::Parse(text, "").status()), "JSON_INVALID body") << text;
  }
  for (const char* text : {"[]", "1", "null", "\"x\""}) {
    EXPECT_EQ(ReasonAndField(JsonReader::Parse(text, "").status()), "OPTION_INVALID body");
  }
  // Deep nesting must not end in deep recursion.
  const std::string deep = std::string(1'000'000, '[');
  EXPECT_EQ(ReasonAndField(JsonReader::Parse(deep, "").status()), "JSON_INVALID body");
  const std::string closed = "{\"a\":" + deep + std::string(deep.size(), ']') + "}";
  EXPECT_EQ(ReasonAndField(JsonReader::Parse(closed, "").status()), "JSON_INVALID body");
}

// {"a":[element,element,...]}
std::string ListOf(const std::string& element, int count) {
  std::string text = "{\"a\":[" + element;
  for (int i = 1; i < count; ++i) text += "," + element;
  return text + "]}";
}

TEST(JsonReader, TakesTimeInProportionToTheText) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(JsonReader::Parse(ListOf("{}", 200'000), "").ok());
  // 0.1 s; looking at all earlier elements for each one takes over a minute.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(JsonReader, RefusesTooManyValuesAndLevels) {
  const auto message = [](const std::string& text) {
    return std::string(JsonReader::Parse(text, "").status().message());
  };
  EXPECT_EQ(message(ListOf("1", 250'000)), "");
  EXPECT_EQ(message(ListOf("1", 300'000)), "body has too many values");
  const auto nested = [](int levels) {
    return "{\"a\":" + std::string(levels, '[') + std::string(levels, ']') + "}";
  };
  EXPECT_EQ(message(nested(31)), "");
  EXPECT_EQ(message(nested(32)), "body nests too deeply");
}

TEST(JsonReader, RefusesNumbersOutOfRange) {
  for (const char* value : {"0.5", "2147483648", "-2147483649", "1e300", "18446744073709551616",
                            "\"7\"", "true", "[1]", "{}"}) {
    JsonReader json = Read("{\"x\": " + std::string(value) + "}");
    std::optional<int32_t> number;
    EXPECT_EQ(ReasonAndField(json.Read("x", &number)), "OPTION_INVALID x") << value;
  }
  for (const char* value : {"-1", "18446744073709551616", "1.5"}) {
    JsonReader json = Read("{\"x\": " + std::string(value) + "}");
    std::optional<uint64_t> number;
    EXPECT_EQ(ReasonAndField(json.Read("x", &number)), "OPTION_INVALID x") << value;
  }
  std::optional<int32_t> number;
  JsonReader whole = Read("{\"x\": 7.0}");
  EXPECT_TRUE(whole.Read("x", &number).ok());
  EXPECT_EQ(number, 7);
}

TEST(JsonReader, NumbersInStringsAreReadWhereAskedFor) {
  JsonReader json =
      Read(R"({"a": "0.25", "b": "12", "c": "1x"})", JsonReader::Numbers::kAlsoInStrings);
  std::optional<double> a, c;
  std::optional<int32_t> b;
  EXPECT_TRUE(json.Read("a", &a).ok());
  EXPECT_TRUE(json.Read("b", &b).ok());
  EXPECT_EQ(a, 0.25);
  EXPECT_EQ(b, 12);
  EXPECT_EQ(ReasonAndField(json.Read("c", &c)), "OPTION_INVALID c");
}

TEST(JsonReader, NamesTheFieldInNestedObjects) {
  JsonReader json = Read(R"({"kv": {"x": 1}, "list": [{}, {"y": 2}]})");
  auto kv = json.Object("kv");
  ASSERT_TRUE(kv.ok());
  EXPECT_EQ(ReasonAndField(kv->CheckNoOtherKeys()), "OPTION_UNKNOWN kv.x");
  auto list = json.ListOfObjects("list");
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ(ReasonAndField((*list)[1].CheckNoOtherKeys()), "OPTION_UNKNOWN list[1].y");
  EXPECT_TRUE(json.Object("absent")->empty());
}

}  // namespace
}  // namespace kvpareto::server
