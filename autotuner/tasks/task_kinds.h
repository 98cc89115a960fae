// The kinds of tasks: one file each, one line each in the list of task_kinds.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "autotuner/task.h"
#include "autotuner/tasks/task_rows.h"

namespace kvpareto::tune {

// What a kind makes its items from. The spec is valid but for what only the kind knows.
struct TaskContext {
  const Engine& engine;
  const TaskSpec& spec;
  std::vector<int64_t> buckets;  // upper ends in prompt tokens, ascending, never empty

  // Whether prompts go through the chat template: as the spec says, else by the kind's rule where
  // the model has a template.
  bool Chat(bool rule) const;
  int MaxNewTokens(int rule) const { return spec.max_new_tokens > 0 ? spec.max_new_tokens : rule; }
  // For raw prompts, before the chat template.
  int64_t MaxPromptTokens() const;
  // The bucket of a prompt; 0 when it fits none.
  int64_t BucketOf(int64_t prompt_tokens) const;
};

// Items without digest.
using MakeItems = absl::StatusOr<std::vector<TaskItem>> (*)(const TaskContext&);

struct TaskKind {
  TaskKindInfo info;
  MakeItems make;
};

// Null: no such kind.
const TaskKind* FindTaskKind(std::string_view name);

// The items that `make` makes of rows, taken in the seed's order until every bucket has spec.count.
// Items that fit no bucket or, with their answer, not the model's context, are left out.
absl::StatusOr<std::vector<TaskItem>> ItemsOfRows(
    const TaskContext& context, const std::vector<TaskRow>& rows,
    const std::function<absl::StatusOr<TaskItem>(const TaskRow&)>& make);

// INVALID_ARGUMENT (TASK_INVALID): "task NAME: problem".
absl::Status TaskError(const TaskSpec& spec, const std::string& problem);

absl::StatusOr<std::vector<TaskItem>> MakeLongBench(const TaskContext& context);
absl::StatusOr<std::vector<TaskItem>> MakeJsonl(const TaskContext& context);
absl::StatusOr<std::vector<TaskItem>> MakeGsm8k(const TaskContext& context);
absl::StatusOr<std::vector<TaskItem>> MakeMmlu(const TaskContext& context);
absl::StatusOr<std::vector<TaskItem>> MakeVariableTracking(const TaskContext& context);
absl::StatusOr<std::vector<TaskItem>> MakeCommonWords(const TaskContext& context);
absl::StatusOr<std::vector<TaskItem>> MakeFrequentWords(const TaskContext& context);
absl::StatusOr<std::vector<TaskItem>> MakePerplexity(const TaskContext& context);
absl::StatusOr<std::vector<TaskItem>> MakeAgreement(const TaskContext& context);

}  // namespace kvpareto::tune
