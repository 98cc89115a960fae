// Texts scored by the model's own probabilities: the second half of every window counts, token by
// token, so that each reads a cache that holds at least half of the window.
#include <string>

#include "autotuner/tasks/task_kinds.h"
#include "autotuner/text_file.h"
#include "autotuner/text_windows.h"

namespace kvpareto::tune {
namespace {

template <typename Expected>
absl::StatusOr<std::vector<TaskItem>> MakeWindows(const TaskContext& context) {
  KVP_ASSIGN_OR_RETURN(std::string text, ReadTextFile(context.spec.path));
  if (!IsCode(context.spec.path)) text = JoinLines(text);
  std::vector<TaskItem> items;
  for (const int64_t bucket : context.buckets) {
    KVP_ASSIGN_OR_RETURN(auto windows,
                         CutWindows(context.engine, text, context.spec.count, bucket));
    for (auto& window : windows) {
      TaskItem item{.bucket = bucket, .prompt = std::move(window)};
      item.id = std::to_string(bucket) + "/" + std::to_string(items.size());
      item.expected = Expected{.first_counted = bucket / 2};
      items.push_back(std::move(item));
    }
  }
  return items;
}

}  // namespace

absl::StatusOr<std::vector<TaskItem>> MakePerplexity(const TaskContext& context) {
  return MakeWindows<Likelihood>(context);
}

absl::StatusOr<std::vector<TaskItem>> MakeAgreement(const TaskContext& context) {
  return MakeWindows<Agreement>(context);
}

}  // namespace kvpareto::tune
