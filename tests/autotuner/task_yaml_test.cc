#include "autotuner/task_yaml.h"

#include "gmock/gmock.h"
#include "tests/support/temp_dir.h"

namespace kvpareto::tune {
namespace {

using testing::HasSubstr;

class TaskYamlTest : public testing::Test {
 protected:
  absl::StatusOr<std::vector<TaskSpec>> Load(const std::string& yaml) {
    support::WriteBytes(folder_.File("tasks.yaml"), yaml);
    return LoadTaskSpecs(folder_.File("tasks.yaml"));
  }
  std::string Error(const std::string& yaml) {
    const auto specs = Load(yaml);
    const auto info = GetErrorInfo(specs.status());
    EXPECT_EQ(info ? info->reason : "", "TASK_INVALID") << yaml;
    return std::string(specs.status().message());
  }

  support::TempDir folder_;
};

TEST_F(TaskYamlTest, ReadsEveryKey) {
  const auto specs = Load(R"(
tasks:
  - {kind: vt}
  - name: arithmetic
    kind: gsm8k
    path: data/test.jsonl
    shots_path: /elsewhere/train.jsonl
    shots: 0
    metric: number_strict
    seed: 7
    count: 3
    first_row: 10
    rows: 20
    context_tokens: [1024, 4096]
    max_prompt_tokens: 900
    max_new_tokens: 64
    chat: false
  - {kind: longbench, name: qa, dataset: qasper, prompt: "{context}"}
)");
  ASSERT_TRUE(specs.ok()) << specs.status();
  ASSERT_EQ(specs->size(), 3);
  EXPECT_EQ((*specs)[0].Name(), "vt");
  EXPECT_EQ((*specs)[0].path, "");
  const TaskSpec& spec = (*specs)[1];
  EXPECT_EQ(spec.Name(), "arithmetic");
  EXPECT_EQ(spec.path, folder_.File("data/test.jsonl"));
  EXPECT_EQ(spec.shots_path, "/elsewhere/train.jsonl");
  EXPECT_EQ(spec.shots, 0);
  EXPECT_EQ(spec.metric, "number_strict");
  EXPECT_EQ(spec.seed, 7);
  EXPECT_EQ(spec.count, 3);
  EXPECT_EQ(spec.first_row, 10);
  EXPECT_EQ(spec.rows, 20);
  EXPECT_EQ(spec.context_tokens, (std::vector<int64_t>{1024, 4096}));
  EXPECT_EQ(spec.max_prompt_tokens, 900);
  EXPECT_EQ(spec.max_new_tokens, 64);
  EXPECT_EQ(spec.chat, false);
  EXPECT_EQ((*specs)[2].dataset, "qasper");
  EXPECT_EQ((*specs)[2].prompt, "{context}");
}

TEST_F(TaskYamlTest, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(Error("tasks:\n  - {kind: poetry}\n"), HasSubstr("tasks.yaml:2:"));
  EXPECT_THAT(Error("tasks:\n  - {kind: vt, colour: red}\n"), HasSubstr("colour"));
  EXPECT_THAT(Error("tasks:\n  - {kind: vt}\n  - {kind: vt}\n"), HasSubstr("two tasks"));
  EXPECT_THAT(Error("tasks:\n  - {kind: vt, chat: maybe}\n"), HasSubstr("chat"));
  EXPECT_THAT(Error("tasks:\n  - {kind: vt, count: 0}\n"), HasSubstr("count"));
  EXPECT_THAT(Error("tasks: []\n"), HasSubstr("tasks"));
  EXPECT_THAT(Error("tasks: 3\n"), HasSubstr("tasks"));
  EXPECT_THAT(Error("[1"), HasSubstr("tasks.yaml"));
}

}  // namespace
}  // namespace kvpareto::tune
