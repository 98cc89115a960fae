#include "autotuner/task.h"

#include <algorithm>

#include "autotuner/journal.h"
#include "autotuner/tasks/task_kinds.h"

namespace kvpareto::tune {
namespace {

absl::Status Validate(const TaskSpec& spec, const ModelConfig& model) {
  if (spec.count < 1) return TaskError(spec, "count must be at least 1");
  if (spec.first_row < 0 || spec.rows < 0)
    return TaskError(spec, "first_row and rows count from 0");
  if (spec.max_new_tokens < 0) return TaskError(spec, "max_new_tokens is negative");
  if (spec.max_prompt_tokens < 0) return TaskError(spec, "max_prompt_tokens is negative");
  if (spec.shots < -1) return TaskError(spec, "shots is negative");
  if (!spec.metric.empty() && !ParseMetric(spec.metric)) {
    std::string known;
    for (const std::string_view name : MetricNames()) known += " " + std::string(name);
    return TaskError(spec, "no metric is called \"" + spec.metric + "\"; known are" + known);
  }
  int64_t last = 1;
  for (const int64_t context : spec.context_tokens) {
    if (context <= last) return TaskError(spec, "context_tokens must ascend, from 2 on");
    if (context > model.context_tokens) {
      return TaskError(spec, "context_tokens holds " + std::to_string(context) +
                                 "; the model's context has " +
                                 std::to_string(model.context_tokens));
    }
    last = context;
  }
  return absl::OkStatus();
}

absl::Status UnknownKind(const TaskSpec& spec) {
  std::string known;
  for (const TaskKindInfo& kind : TaskKinds()) known += " " + std::string(kind.name);
  return TaskError(spec, "no kind is called \"" + spec.kind + "\"; known are" + known);
}

// What the score is decided by, besides the prompt.
std::vector<std::string> DigestParts(const Answer& answer) {
  std::vector<std::string> parts = {"answer", std::string(MetricName(answer.metric)),
                                    std::to_string(answer.max_new_tokens),
                                    std::to_string(answer.references.size())};
  parts.insert(parts.end(), answer.references.begin(), answer.references.end());
  parts.insert(parts.end(), answer.stop_strings.begin(), answer.stop_strings.end());
  return parts;
}
std::vector<std::string> DigestParts(const Choice& choice) {
  std::vector<std::string> parts = {"choice", std::to_string(choice.right)};
  for (const auto& option : choice.options) parts.push_back(TokensDigest(option));
  return parts;
}
std::vector<std::string> DigestParts(const Likelihood& likelihood) {
  return {"likelihood", std::to_string(likelihood.first_counted)};
}
std::vector<std::string> DigestParts(const Agreement& agreement) {
  return {"agreement", std::to_string(agreement.first_counted)};
}

std::string DigestOf(const TaskItem& item) {
  std::vector<std::string> parts =
      std::visit([](const auto& expected) { return DigestParts(expected); }, item.expected);
  parts.push_back(TokensDigest(item.prompt));
  return KeyOf(parts);
}

}  // namespace

absl::StatusOr<Task> MakeTask(const Engine& engine, const TaskSpec& spec) {
  const TaskKind* kind = FindTaskKind(spec.kind);
  if (kind == nullptr) return UnknownKind(spec);
  const ModelConfig& model = engine.model().config;
  KVP_RETURN_IF_ERROR(Validate(spec, model));
  TaskContext context{.engine = engine, .spec = spec, .buckets = spec.context_tokens};
  if (context.buckets.empty()) context.buckets.push_back(model.context_tokens);

  Task task{.name = spec.Name(), .kind = spec.kind, .items = {}};
  KVP_ASSIGN_OR_RETURN(task.items, kind->make(context));
  if (task.items.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TASK_EMPTY",
                     "task " + task.name + ": nothing in " + spec.path +
                         " fits its context lengths and the model",
                     {{"task", task.name}});
  }
  std::stable_sort(task.items.begin(), task.items.end(),
                   [](const TaskItem& a, const TaskItem& b) { return a.bucket < b.bucket; });
  for (TaskItem& item : task.items) item.digest = DigestOf(item);
  return task;
}

}  // namespace kvpareto::tune
