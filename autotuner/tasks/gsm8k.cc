// Arithmetic in words (GSM8K's rows: question, answer with "#### 42" at its end), as
// lm-evaluation-harness has it: five worked examples, then the question; the number must be the
// same (flexible-extract, or strict-match with metric number_strict).
#include <string>

#include "autotuner/tasks/task_kinds.h"
#include "autotuner/tasks/task_prompt.h"

namespace kvpareto::tune {
namespace {

constexpr int kShots = 5;
constexpr int kMaxNewTokens = 256;

// The examples, each with its answer.
absl::StatusOr<std::string> Examples(const std::vector<TaskRow>& rows) {
  std::string text;
  for (const TaskRow& row : rows) {
    KVP_ASSIGN_OR_RETURN(const std::string shot,
                         row.Fill("Question: {question}\nAnswer: {answer}\n\n"));
    text += shot;
  }
  return text;
}

absl::StatusOr<TaskItem> MakeItem(const TaskContext& context, const std::string& examples,
                                  const TaskRow& row) {
  TaskItem item;
  KVP_ASSIGN_OR_RETURN(const std::string question, row.Fill("Question: {question}\nAnswer:"));
  KVP_ASSIGN_OR_RETURN(item.prompt,
                       MakePrompt(context.engine, examples + question, context.Chat(false)));
  const std::string& metric = context.spec.metric;
  Answer answer{.metric = metric.empty() ? Metric::kNumber : *ParseMetric(metric),
                .references = {},
                .max_new_tokens = context.MaxNewTokens(kMaxNewTokens),
                .stop_strings = {"Question:", "</s>", "<|im_end|>"}};
  KVP_ASSIGN_OR_RETURN(answer.references, row.Texts("answer"));
  item.expected = std::move(answer);
  return item;
}

}  // namespace

absl::StatusOr<std::vector<TaskItem>> MakeGsm8k(const TaskContext& context) {
  const TaskSpec& spec = context.spec;
  const int shots = spec.shots < 0 ? kShots : spec.shots;
  const bool own_file = !spec.shots_path.empty();
  std::vector<TaskRow> examples;
  if (shots > 0) {
    KVP_ASSIGN_OR_RETURN(examples, ReadTaskRows(own_file ? spec.shots_path : spec.path,
                                                own_file ? 0 : spec.first_row, shots));
  }
  // Examples out of the same file are no questions.
  const int64_t first = spec.first_row + (own_file ? 0 : std::ssize(examples));
  KVP_ASSIGN_OR_RETURN(const std::vector<TaskRow> rows, ReadTaskRows(spec.path, first, spec.rows));
  KVP_ASSIGN_OR_RETURN(const std::string text, Examples(examples));
  return ItemsOfRows(context, rows,
                     [&](const TaskRow& row) { return MakeItem(context, text, row); });
}

}  // namespace kvpareto::tune
