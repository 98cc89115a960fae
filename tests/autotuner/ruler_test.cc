#include <map>
#include <regex>
#include <set>

#include "autotuner/task.h"
#include "gmock/gmock.h"
#include "tests/autotuner/tiny_engine.h"

namespace kvpareto::tune {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

// Sentences of words that are all different.
std::string Words(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    for (int n = i + 26 * 26 * 26; n > 0; n /= 26) text += static_cast<char>('a' + n % 26);
    text += i % 9 == 8 ? ". " : " ";
  }
  return text;
}

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

class RulerTest : public TinyEngineTest {
 protected:
  RulerTest() { support::WriteBytes(haystack_, Words(4000)); }

  Task Make(const std::string& kind, int64_t context = 2048) {
    auto task = MakeTask(*engine_, {.kind = kind,
                                    .path = haystack_,
                                    .count = 3,
                                    .context_tokens = {context},
                                    .max_new_tokens = 20});
    EXPECT_TRUE(task.ok()) << kind << ": " << task.status();
    return task.ok() ? *std::move(task) : Task();
  }
  std::string Text(const TaskItem& item) { return engine_->Detokenize(item.prompt); }
  static const std::vector<std::string>& References(const TaskItem& item) {
    return std::get<Answer>(item.expected).references;
  }

  const std::string haystack_ = folder_.File("haystack.txt");
};

TEST_F(RulerTest, EveryKindFillsItsContextAndIsTheSameAgain) {
  for (const TaskKindInfo& kind : TaskKinds()) {
    if (!kind.summary.starts_with("RULER")) continue;
    SCOPED_TRACE(kind.name);
    const Task task = Make(std::string(kind.name));
    const Task again = Make(std::string(kind.name));
    ASSERT_EQ(task.items.size(), 3);
    ASSERT_EQ(again.items.size(), 3);
    std::set<std::string> digests;
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_LE(task.items[i].prompt.size(), 2048 - 20);
      EXPECT_GT(task.items[i].prompt.size(), 1700);
      EXPECT_EQ(task.items[i].digest, again.items[i].digest);
      EXPECT_EQ(std::get<Answer>(task.items[i].expected).metric, Metric::kContainsAll);
      EXPECT_THAT(Text(task.items[i]), HasSubstr("<|im_start|>assistant\n "));
      digests.insert(task.items[i].digest);
    }
    EXPECT_EQ(digests.size(), 3);
  }
}

TEST_F(RulerTest, NeedlesStandInTheTextAndAreAskedFor) {
  const std::map<std::string, std::pair<size_t, size_t>> needles_and_answers = {
      {"niah_single_1", {1, 1}},   {"niah_single_2", {1, 1}},   {"niah_single_3", {1, 1}},
      {"niah_multikey_1", {4, 1}}, {"niah_multivalue", {4, 4}}, {"niah_multiquery", {4, 4}}};
  for (const auto& [kind, counts] : needles_and_answers) {
    SCOPED_TRACE(kind);
    for (const TaskItem& item : Make(kind).items) {
      const std::string text = Text(item);
      EXPECT_EQ(Count(text, "One of the special magic "), counts.first);
      ASSERT_EQ(References(item).size(), counts.second);
      for (const std::string& value : References(item)) {
        EXPECT_EQ(Count(text, " is: " + value + "."), 1);
        const std::regex needle("for (\\S+) is: " + value);
        std::smatch key;
        ASSERT_TRUE(std::regex_search(text, key, needle));
        const size_t question = text.find("\nWhat ");
        ASSERT_NE(question, std::string::npos);
        EXPECT_THAT(text.substr(question), HasSubstr(key[1].str()));
        EXPECT_THAT(text.substr(text.rfind("assistant\n ")), HasSubstr(key[1].str()));
      }
      EXPECT_THAT(text, EndsWith(counts.second == 1 ? " provided text is" : " provided text are"));
    }
  }
}

TEST_F(RulerTest, TheQuestionIsWordedAsRulerWordsIt) {
  const std::string one = Text(Make("niah_single_2").items[0]);
  EXPECT_THAT(one,
              HasSubstr("A special magic number is hidden within the following text. Make sure "
                        "to memorize it. I will quiz you about the number afterwards.\n"));
  EXPECT_TRUE(std::regex_search(
      one, std::regex("\nWhat is the special magic number for [a-z]+-[a-z]+ mentioned in the "
                      "provided text\\?")));
  const std::string several = Text(Make("niah_multiquery").items[0]);
  EXPECT_THAT(several,
              HasSubstr("Some special magic numbers are hidden within the following text."));
  EXPECT_TRUE(std::regex_search(
      several, std::regex("\nWhat are all the special magic numbers for \\S+, \\S+, \\S+, and \\S+ "
                          "mentioned in the provided text\\?")));
}

TEST_F(RulerTest, DistractorsLookLikeTheNeedleButAreOfOtherKeys) {
  for (const std::string kind : {"niah_multikey_2", "niah_multikey_3"}) {
    for (const TaskItem& item : Make(kind).items) {
      const std::string text = Text(item);
      EXPECT_GT(Count(text, "One of the special magic "), 10);
      const std::regex asked("special magic \\S+ for (\\S+) mentioned");
      std::smatch key;
      ASSERT_TRUE(std::regex_search(text, key, asked));
      EXPECT_EQ(Count(text, "for " + key[1].str() + " is: "), 1);
      EXPECT_EQ(Count(text, "for " + key[1].str() + " is: " + References(item)[0]), 1);
    }
  }
}

TEST_F(RulerTest, ValuesAreHandedOnThroughTheChain) {
  for (const TaskItem& item : Make("vt").items) {
    const std::string text = Text(item);
    const auto& names = References(item);
    ASSERT_EQ(names.size(), 5);
    const std::regex asked("assigned the value (\\d{5}), they are: $");
    std::smatch value;
    ASSERT_TRUE(std::regex_search(text, value, asked));
    size_t at = text.find("VAR " + names[0] + " = " + value[1].str());
    ASSERT_NE(at, std::string::npos);
    for (size_t i = 1; i < names.size(); ++i) {
      const size_t next = text.find("VAR " + names[i] + " = VAR " + names[i - 1]);
      ASSERT_NE(next, std::string::npos);
      EXPECT_GT(next, at);
      at = next;
    }
    EXPECT_EQ(Count(text, "Memorize and track the chain(s)"), 2);  // one is the example
  }
}

TEST_F(RulerTest, CommonWordsAreTheMostCommonOnes) {
  for (const TaskItem& item : Make("cwe").items) {
    std::string text = Text(item);
    text = text.substr(text.rfind("Below is a numbered list"));
    std::map<std::string, int> counts;
    const std::regex entry("\\d+\\. (\\w+)");
    for (std::sregex_iterator it(text.begin(), text.end(), entry), end; it != end; ++it) {
      ++counts[(*it)[1].str()];
    }
    ASSERT_EQ(References(item).size(), 10);
    for (const std::string& word : References(item)) EXPECT_EQ(counts[word], 6) << word;
    const auto common = std::count_if(counts.begin(), counts.end(),
                                      [](const auto& entry) { return entry.second >= 6; });
    EXPECT_EQ(common, 10);
  }
}

TEST_F(RulerTest, FrequentWordsFollowTheDots) {
  for (const TaskItem& item : Make("fwe").items) {
    std::string text = Text(item);
    const size_t begin = text.find("coded words. ") + 13;
    std::istringstream words(text.substr(begin, text.find("\nQuestion:") - begin));
    std::map<std::string, int> counts;
    for (std::string word; words >> word;) ++counts[word];
    std::vector<std::pair<int, std::string>> ranked;
    for (const auto& [word, count] : counts) ranked.emplace_back(-count, word);
    std::sort(ranked.begin(), ranked.end());
    EXPECT_EQ(ranked[0].second, "...");
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(ranked[i + 1].second, References(item)[i]);
  }
}

TEST_F(RulerTest, SaysWhatIsMissing) {
  const auto reason = [&](const TaskSpec& spec) {
    const auto info = GetErrorInfo(MakeTask(*engine_, spec).status());
    return info.has_value() ? info->reason : "";
  };
  EXPECT_EQ(reason({.kind = "niah_single_2", .path = folder_.File("none")}), "FILE_NOT_READABLE");
  EXPECT_EQ(reason({.kind = "vt", .context_tokens = {300}}), "TASK_INVALID");
  support::WriteBytes(haystack_, " \n");
  EXPECT_EQ(reason({.kind = "niah_single_2", .path = haystack_}), "TEXT_TOO_SHORT");
  support::WriteBytes(haystack_, Words(30));
  EXPECT_EQ(reason({.kind = "cwe", .path = haystack_}), "TEXT_TOO_SHORT");
  const std::string json = folder_.File("essays.json");
  support::WriteBytes(json, R"({"text": 1})");
  EXPECT_EQ(reason({.kind = "niah_single_2", .path = json}), "TASK_DATA_INVALID");
  support::WriteBytes(json, "{\"text\": \"" + Words(100) + "\"}");
  EXPECT_EQ(reason({.kind = "niah_single_2", .path = json, .context_tokens = {1024}}), "");
}

}  // namespace
}  // namespace kvpareto::tune
