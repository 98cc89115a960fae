// Any rows with a prompt, answers and a metric.
#include <string>

#include "autotuner/tasks/task_kinds.h"
#include "autotuner/tasks/task_prompt.h"

namespace kvpareto::tune {
namespace {

constexpr int kMaxNewTokens = 64;

absl::StatusOr<Metric> MetricOf(const TaskSpec& spec, const TaskRow& row) {
  std::string name = spec.metric;
  if (name.empty()) {
    KVP_ASSIGN_OR_RETURN(name, row.Text("metric"));
  }
  if (const std::optional<Metric> metric = ParseMetric(name)) return *metric;
  std::string known;
  for (const std::string_view one : MetricNames()) known += " " + std::string(one);
  return row.Error("metric", "is \"" + name + "\"; known are" + known);
}

absl::StatusOr<TaskItem> MakeItem(const TaskContext& context, const TaskRow& row) {
  const TaskSpec& spec = context.spec;
  TaskItem item;
  KVP_ASSIGN_OR_RETURN(std::string text,
                       spec.prompt.empty() ? row.Text("prompt") : row.Fill(spec.prompt));
  KVP_ASSIGN_OR_RETURN(text, TruncateMiddle(context.engine, text, context.MaxPromptTokens()));
  KVP_ASSIGN_OR_RETURN(item.prompt, MakePrompt(context.engine, text, context.Chat(true)));
  if (item.prompt.empty()) return row.Error("prompt", "is empty");
  Answer answer{.max_new_tokens = context.MaxNewTokens(kMaxNewTokens)};
  KVP_ASSIGN_OR_RETURN(answer.metric, MetricOf(spec, row));
  KVP_ASSIGN_OR_RETURN(answer.references, row.Texts("answers"));
  item.expected = std::move(answer);
  return item;
}

}  // namespace

absl::StatusOr<std::vector<TaskItem>> MakeJsonl(const TaskContext& context) {
  KVP_ASSIGN_OR_RETURN(const std::vector<TaskRow> rows,
                       ReadTaskRows(context.spec.path, context.spec.first_row, context.spec.rows));
  return ItemsOfRows(context, rows, [&](const TaskRow& row) { return MakeItem(context, row); });
}

}  // namespace kvpareto::tune
