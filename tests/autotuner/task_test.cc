#include "autotuner/task.h"

#include <set>

#include "gmock/gmock.h"
#include "tests/autotuner/tiny_engine.h"

namespace kvpareto::tune {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class TaskTest : public TinyEngineTest {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    support::WriteBytes(folder_.File(name), content);
    return folder_.File(name);
  }
  Task Make(const TaskSpec& spec) {
    auto task = MakeTask(*engine_, spec);
    EXPECT_TRUE(task.ok()) << task.status();
    return task.ok() ? *std::move(task) : Task();
  }
  std::string Text(const TaskItem& item) { return engine_->Detokenize(item.prompt); }
  void ExpectError(const TaskSpec& spec, const std::string& reason, const std::string& message) {
    const auto task = MakeTask(*engine_, spec);
    ASSERT_FALSE(task.ok()) << message;
    const auto info = GetErrorInfo(task.status());
    ASSERT_TRUE(info.has_value()) << task.status();
    EXPECT_EQ(info->reason, reason) << task.status();
    EXPECT_THAT(std::string(task.status().message()), HasSubstr(message));
  }
  static std::vector<std::string> Ids(const Task& task) {
    std::vector<std::string> ids;
    for (const TaskItem& item : task.items) ids.push_back(item.id);
    return ids;
  }
};

TEST_F(TaskTest, LongBenchRowsBecomeItsPrompts) {
  const std::string path = Write(
      "hotpot.jsonl",
      R"({"input": "Who?", "context": "Passage {1}: Ann.", "answers": ["Ann", "Anne"], "dataset": "hotpotqa_e"})"
      "\n\n"
      R"({"input": "What?", "context": "Text.", "answers": "yes", "dataset": "qasper", "length": 1})");
  const Task task = Make({.kind = "longbench", .path = path});
  EXPECT_EQ(task.name, "longbench");
  EXPECT_THAT(Ids(task), testing::UnorderedElementsAre("row 1", "row 3"));
  for (const TaskItem& item : task.items) {
    const auto& answer = std::get<Answer>(item.expected);
    EXPECT_EQ(item.bucket, 4096);
    EXPECT_EQ(item.digest.size(), 64);
    EXPECT_THAT(Text(item), EndsWith("Answer:<|im_end|>\n<|im_start|>assistant\n"));
    if (item.id == "row 1") {
      EXPECT_THAT(Text(item), HasSubstr("given passages.\nPassage {1}: Ann.\n\nAnswer"));
      EXPECT_EQ(answer.max_new_tokens, 32);
      EXPECT_EQ(answer.references, (std::vector<std::string>{"Ann", "Anne"}));
    } else {
      EXPECT_THAT(Text(item), HasSubstr("Article: Text.\n\n Answer the question"));
      EXPECT_EQ(answer.max_new_tokens, 128);
    }
  }
}

TEST_F(TaskTest, LongPromptsLoseTheirMiddle) {
  std::string context;
  for (int i = 0; i < 3000; ++i) context += " w" + std::to_string(i) + "\u00E9";
  const std::string path =
      Write("long.jsonl", "{\"input\": \"Last?\", \"context\": \"" + context +
                              "\", \"answers\": [\"x\"], \"dataset\": \"hotpotqa\"}");
  const TaskSpec spec{.kind = "longbench", .path = path, .context_tokens = {2000}, .chat = false};
  const Task task = Make(spec);
  ASSERT_EQ(task.items.size(), 1);
  EXPECT_EQ(task.items[0].bucket, 2000);
  EXPECT_NEAR(std::ssize(task.items[0].prompt), 1500, 6);  // the halves merge differently
  EXPECT_THAT(Text(task.items[0]), StartsWith("Answer the question"));
  EXPECT_THAT(Text(task.items[0]), HasSubstr(" w2999"));
  EXPECT_THAT(Text(task.items[0]), EndsWith("Question: Last?\nAnswer:"));
}

TEST_F(TaskTest, RowsAreTakenInTheSeedsOrderUntilBucketsAreFull) {
  std::string rows;
  for (int i = 0; i < 40; ++i) {
    rows += "{\"prompt\": \"" + std::string(i % 2 == 0 ? 50 : 500, 'x') +
            "\", \"answers\": [\"y\"], \"metric\": \"exact\"}\n";
  }
  TaskSpec spec{.kind = "jsonl",
                .path = Write("rows.jsonl", rows),
                .count = 5,
                .context_tokens = {300, 900},
                .chat = false};
  const Task task = Make(spec);
  ASSERT_EQ(task.items.size(), 10);
  EXPECT_EQ(task.items[4].bucket, 300);
  EXPECT_EQ(task.items[5].bucket, 900);
  EXPECT_EQ(Ids(Make(spec)), Ids(task));
  spec.seed = 2;
  EXPECT_NE(Ids(Make(spec)), Ids(task));
  spec.first_row = 30;
  spec.rows = 4;
  EXPECT_THAT(Ids(Make(spec)),
              testing::UnorderedElementsAre("row 31", "row 32", "row 33", "row 34"));
}

TEST_F(TaskTest, DigestsTellItemsApart) {
  const std::string a = R"({"prompt": "p", "answers": ["x"], "metric": "exact"})";
  const std::string b = R"({"prompt": "p", "answers": ["y"], "metric": "exact"})";
  const std::string c = R"({"prompt": "p", "answers": ["x"], "metric": "f1"})";
  const Task task =
      Make({.kind = "jsonl", .path = Write("abc.jsonl", a + "\n" + b + "\n" + c + "\n" + a)});
  std::set<std::string> digests;
  for (const TaskItem& item : task.items) digests.insert(item.digest);
  EXPECT_EQ(task.items.size(), 4);
  EXPECT_EQ(digests.size(), 3);
}

TEST_F(TaskTest, Gsm8kTakesItsExamplesFromTheFile) {
  std::string rows;
  for (int i = 0; i < 6; ++i) {
    const std::string n = std::to_string(i);
    rows += "{\"question\": \"q" + n + "\", \"answer\": \"so\\n#### " + n + "\"}\n";
  }
  const Task task = Make({.kind = "gsm8k", .path = Write("gsm8k.jsonl", rows), .shots = 2});
  ASSERT_EQ(task.items.size(), 4);  // the examples are no questions
  for (const TaskItem& item : task.items) {
    EXPECT_THAT(Text(item), StartsWith("Question: q0\nAnswer: so\n#### 0\n\nQuestion: q1\n"));
    EXPECT_THAT(Text(item),
                EndsWith("\n\nQuestion: q" + std::to_string(std::stoi(item.id.substr(4)) - 1) +
                         "\nAnswer:"));
    EXPECT_EQ(std::get<Answer>(item.expected).metric, Metric::kNumber);
  }
}

TEST_F(TaskTest, MmluComparesLetters) {
  const std::string path = Write(
      "mmlu.jsonl",
      R"({"question": " One? ", "choices": ["a", "b"], "answer": 1, "subject": "high_school"})"
      "\n"
      R"({"question": "Two?", "choices": ["c", "d", "e"], "answer": "C", "subject": "high_school"})");
  const Task task = Make({.kind = "mmlu", .path = path, .shots = 1});
  ASSERT_EQ(task.items.size(), 1);
  EXPECT_EQ(Text(task.items[0]),
            "The following are multiple choice questions (with answers) about high school.\n\n"
            "One?\nA. a\nB. b\nAnswer: B\n\nTwo?\nA. c\nB. d\nC. e\nAnswer:");
  const auto& choice = std::get<Choice>(task.items[0].expected);
  EXPECT_EQ(choice.right, 2);
  ASSERT_EQ(choice.options.size(), 3);
  EXPECT_EQ(engine_->Detokenize(choice.options[2]), " C");
}

TEST_F(TaskTest, TextsAreCutIntoWindows) {
  const std::string path = Write("prose.txt", Prose(20000));
  const Task task =
      Make({.kind = "perplexity", .path = path, .count = 2, .context_tokens = {128, 512}});
  ASSERT_EQ(task.items.size(), 4);
  EXPECT_EQ(task.items[0].prompt.size(), 128);
  EXPECT_EQ(task.items[3].prompt.size(), 512);
  EXPECT_EQ(std::get<Likelihood>(task.items[3].expected).first_counted, 256);
}

TEST_F(TaskTest, SaysWhatIsWrongWithASpec) {
  const std::string path = Write("row.jsonl", R"({"prompt": "p", "answers": ["x"]})");
  ExpectError({.kind = "poetry", .path = path}, "TASK_INVALID", "known are longbench");
  ExpectError({.kind = "jsonl", .path = path, .count = 0}, "TASK_INVALID", "count");
  ExpectError({.kind = "jsonl", .path = path, .context_tokens = {100, 100}}, "TASK_INVALID",
              "ascend");
  ExpectError({.kind = "jsonl", .path = path, .context_tokens = {100000}}, "TASK_INVALID", "4096");
  ExpectError({.kind = "jsonl", .path = path, .metric = "bleu"}, "TASK_INVALID", "bleu");
  ExpectError({.kind = "longbench", .path = path, .dataset = "samsum"}, "TASK_INVALID", "samsum");
  ExpectError({.kind = "jsonl", .path = folder_.File("none")}, "FILE_NOT_READABLE", "none");
  ExpectError({.kind = "jsonl", .path = path, .first_row = 1}, "TASK_EMPTY", "no row");
  ExpectError({.kind = "jsonl", .path = path, .metric = "f1", .max_new_tokens = 1 << 30},
              "TASK_EMPTY", "fits");
}

TEST_F(TaskTest, SaysWhereARowIsWrong) {
  const auto expect = [&](const std::string& kind, const std::string& row,
                          const std::string& message) {
    const std::string good = R"({"prompt": "p", "answers": ["x"], "metric": "f1", "input": "i",
        "context": "c", "dataset": "musique", "question": "q", "answer": "A", "choices": ["x", "y"]})";
    std::string line;
    for (const char c : good) line += c == '\n' ? ' ' : c;
    const std::string path = Write("bad.jsonl", line + "\n" + row + "\n");
    ExpectError({.kind = kind, .path = path, .shots = 0}, "TASK_DATA_INVALID", message);
  };
  expect("jsonl", "{\"prompt\": ", "bad.jsonl:2: is not JSON");
  expect("jsonl", "{\"prompt\": \"\xFF\"}", "bad.jsonl:2: is not JSON");
  expect("jsonl", "[]", "bad.jsonl:2: is not a JSON object");
  expect("jsonl", std::string(100000, '['), "bad.jsonl:2: is not JSON");
  expect("jsonl", "{\"prompt\": " + std::string(100000, '[') + std::string(100000, ']') + "}",
         "\"prompt\" is not a string");
  expect("jsonl", R"({"answers": ["x"]})", "bad.jsonl:2: \"prompt\" is missing");
  expect("jsonl", R"({"prompt": 3})", "\"prompt\" is not a string");
  expect("jsonl", R"({"prompt": "p", "metric": "f1", "answers": []})", "\"answers\" is not");
  expect("jsonl", R"({"prompt": "p", "metric": "f1", "answers": [1]})", "\"answers\" holds");
  expect("jsonl", R"({"prompt": "p", "metric": "bleu", "answers": ["x"]})", "\"metric\" is \"bleu");
  expect("longbench", R"({"input": "i", "context": "c", "dataset": "x"})", "\"dataset\" is \"x\"");
  expect("longbench", R"({"input": "i", "dataset": "musique"})", "\"context\" is missing");
  expect("mmlu", R"({"question": "q", "choices": ["x"], "answer": 0})", "\"choices\" must be 2");
  expect("mmlu", R"({"question": "q", "choices": ["x", "y"], "answer": 2})", "\"answer\" is none");
  expect("mmlu", R"({"question": "q", "choices": ["x", "y"], "answer": 18446744073709551615})",
         "\"answer\" is not an integer");
  expect("gsm8k", R"({"question": "q"})", "\"answer\" is missing");
}

TEST_F(TaskTest, APromptOfTheSpecIsFilledFromTheRow) {
  const std::string path = Write("fill.jsonl", R"({"a": "one", "b": "{a}", "answers": "x"})");
  const Task task = Make({.kind = "jsonl",
                          .path = path,
                          .prompt = "{{{a}}} {b} }} {a}",
                          .metric = "exact",
                          .chat = false});
  ASSERT_EQ(task.items.size(), 1);
  EXPECT_EQ(Text(task.items[0]), "{one} {a} } one");
  ExpectError({.kind = "jsonl", .path = path, .prompt = "{c", .metric = "exact"},
              "TASK_DATA_INVALID", "\"c\" is missing");
}

}  // namespace
}  // namespace kvpareto::tune
