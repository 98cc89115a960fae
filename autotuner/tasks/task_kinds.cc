#include "autotuner/tasks/task_kinds.h"

#include <algorithm>
#include <array>
#include <map>

#include "autotuner/tasks/niah.h"
#include "autotuner/tasks/task_random.h"

namespace kvpareto::tune {
namespace {

template <NiahVariant kVariant>
absl::StatusOr<std::vector<TaskItem>> MakeNiahVariant(const TaskContext& context) {
  return MakeNiah(context, kVariant);
}

constexpr std::array kKinds = {
    TaskKind{{"longbench", "LongBench rows (input, context, answers): questions on long documents"},
             MakeLongBench},
    TaskKind{{"jsonl", "rows with prompt, answers and metric"}, MakeJsonl},
    TaskKind{{"gsm8k", "rows with question and answer: arithmetic in words, exact number"},
             MakeGsm8k},
    TaskKind{{"mmlu", "rows with question, choices and answer: the likeliest letter"}, MakeMmlu},
    TaskKind{{"niah_single_1", "RULER: a number in noise"},
             MakeNiahVariant<NiahVariant{.haystack = NiahHaystack::kNoise}>},
    TaskKind{{"niah_single_2", "RULER: a number in the text of path"},
             MakeNiahVariant<NiahVariant{}>},
    TaskKind{{"niah_single_3", "RULER: a UUID in the text of path"},
             MakeNiahVariant<NiahVariant{.value = NiahWord::kUuids}>},
    TaskKind{{"niah_multikey_1", "RULER: one of 4 numbers in the text of path"},
             MakeNiahVariant<NiahVariant{.keys = 4}>},
    TaskKind{{"niah_multikey_2", "RULER: a number among lines that look the same"},
             MakeNiahVariant<NiahVariant{.haystack = NiahHaystack::kNeedles}>},
    TaskKind{{"niah_multikey_3", "RULER: a UUID of a UUID among lines that look the same"},
             MakeNiahVariant<NiahVariant{.haystack = NiahHaystack::kNeedles,
                                         .key = NiahWord::kUuids,
                                         .value = NiahWord::kUuids}>},
    TaskKind{{"niah_multivalue", "RULER: 4 numbers of one key in the text of path"},
             MakeNiahVariant<NiahVariant{.values = 4}>},
    TaskKind{{"niah_multiquery", "RULER: 4 numbers of 4 keys in the text of path"},
             MakeNiahVariant<NiahVariant{.queries = 4}>},
    TaskKind{{"vt", "RULER: all variables that a value was handed on to, in noise"},
             MakeVariableTracking},
    TaskKind{{"cwe", "RULER: the ten most common of a list of words, taken from the text of path"},
             MakeCommonWords},
    TaskKind{{"fwe", "RULER: the three most frequent words of a coded text"}, MakeFrequentWords},
    TaskKind{{"perplexity", "a text: 1 / perplexity of its tokens"}, MakePerplexity},
    TaskKind{{"agreement", "a text: how often the likeliest token is that of the bf16 cache"},
             MakeAgreement},
};

// LongBench cuts raw prompts to the context less this, for chat template and answer.
constexpr int64_t kHeadroomTokens = 500;

int64_t AnswerTokens(const TaskItem& item) {
  if (const auto* answer = std::get_if<Answer>(&item.expected)) return answer->max_new_tokens;
  int64_t longest = 0;
  if (const auto* choice = std::get_if<Choice>(&item.expected)) {
    for (const auto& option : choice->options) longest = std::max(longest, std::ssize(option));
  }
  return longest;
}

}  // namespace

std::vector<TaskKindInfo> TaskKinds() {
  std::vector<TaskKindInfo> infos;
  for (const TaskKind& kind : kKinds) infos.push_back(kind.info);
  return infos;
}

const TaskKind* FindTaskKind(std::string_view name) {
  const auto* found = std::find_if(kKinds.begin(), kKinds.end(),
                                   [&](const TaskKind& kind) { return kind.info.name == name; });
  return found == kKinds.end() ? nullptr : found;
}

bool TaskContext::Chat(bool rule) const {
  return spec.chat.value_or(rule && engine.model().has_chat_template);
}

int64_t TaskContext::MaxPromptTokens() const {
  if (spec.max_prompt_tokens > 0) return spec.max_prompt_tokens;
  return std::max(buckets.back() - kHeadroomTokens, buckets.back() / 2);
}

int64_t TaskContext::BucketOf(int64_t prompt_tokens) const {
  const auto bucket = std::lower_bound(buckets.begin(), buckets.end(), prompt_tokens);
  return bucket == buckets.end() ? 0 : *bucket;
}

absl::StatusOr<std::vector<TaskItem>> ItemsOfRows(
    const TaskContext& context, const std::vector<TaskRow>& rows,
    const std::function<absl::StatusOr<TaskItem>(const TaskRow&)>& make) {
  std::vector<const TaskRow*> order;
  for (const TaskRow& row : rows) order.push_back(&row);
  TaskRandom(context.spec.seed, 0, 0).Shuffle(order);
  const size_t wanted = context.buckets.size() * context.spec.count;
  std::map<int64_t, int> taken;  // by bucket
  std::vector<TaskItem> items;
  for (const TaskRow* row : order) {
    if (items.size() == wanted) break;
    KVP_ASSIGN_OR_RETURN(TaskItem item, make(*row));
    item.id = "row " + std::to_string(row->line());
    item.bucket = context.BucketOf(std::ssize(item.prompt));
    const int64_t tokens = std::ssize(item.prompt) + AnswerTokens(item);
    if (item.bucket == 0 || tokens > context.engine.model().config.context_tokens) continue;
    if (taken[item.bucket] == context.spec.count) continue;
    ++taken[item.bucket];
    items.push_back(std::move(item));
  }
  return items;
}

absl::Status TaskError(const TaskSpec& spec, const std::string& problem) {
  return MakeError(absl::StatusCode::kInvalidArgument, "TASK_INVALID",
                   "task " + spec.Name() + ": " + problem, {{"task", spec.Name()}});
}

}  // namespace kvpareto::tune
