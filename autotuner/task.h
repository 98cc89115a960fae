// Evaluation tasks: what a KV config must still be able to do.
//
// A task is made once for a model (MakeTask: prompts as tokens, what is expected of each, a digest)
// and evaluated under any number of configs (task_run.h), item by item, so that configs are
// compared on the same items (paired.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "autotuner/task_metric.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct TaskSpec {
  std::string name;  // in results; empty: the kind
  std::string kind;  // one of TaskKinds()
  // JSON rows, one a line; or the text that generated tasks hide things in and likelihoods are of.
  std::string path;
  // longbench: which prompt (empty: each row's "dataset").
  std::string dataset;
  // jsonl, longbench: the prompt with the row's members in braces, "{context}"; empty: the kind's.
  std::string prompt;
  std::string metric;      // jsonl, gsm8k: a MetricName; empty: each row's "metric", the kind's
  std::string shots_path;  // gsm8k, mmlu: rows that examples come from; empty: the first of `path`
  int shots = -1;          // examples before each question; -1: the kind's
  uint64_t seed = 1;       // which rows, in which order; what is generated
  int count = 20;          // items of each bucket, at most (rows may run out)
  int64_t first_row = 0;   // rows of the file that are used
  int64_t rows = 0;        // how many; 0: all that follow
  // Upper ends of the buckets in prompt tokens, ascending. Generated tasks and likelihoods make
  // prompts of about these sizes, answers included. Empty: one bucket, the model's context.
  std::vector<int64_t> context_tokens;
  // longbench, jsonl: raw prompts are cut to this in the middle (TruncateMiddle); 0: the largest
  // bucket less 500 tokens for chat template and answer, as LongBench has it.
  int64_t max_prompt_tokens = 0;
  int max_new_tokens = 0;    // 0: the kind's
  std::optional<bool> chat;  // through the model's chat template; unset: the kind's rule

  std::string Name() const { return name.empty() ? kind : name; }
};

// What a kind of task is, for lists and help.
struct TaskKindInfo {
  std::string_view name;
  std::string_view summary;
};
std::vector<TaskKindInfo> TaskKinds();

// The model continues the prompt, greedily; the text is compared with the references.
struct Answer {
  Metric metric = Metric::kF1;
  std::vector<std::string> references;
  int max_new_tokens = 0;
  std::vector<std::string> stop_strings;
};

// The most likely of several continuations is the right one, or not.
struct Choice {
  std::vector<std::vector<int32_t>> options;
  int right = 0;
};

// How likely the prompt itself is: the geometric mean of the probabilities of its tokens from
// `first_counted` on, 1 / perplexity.
struct Likelihood {
  int64_t first_counted = 0;
};

// How often the most likely token is that of the bf16 cache with the same chunk, from position
// `first_counted` of the prompt on. The bf16 cache scores 1.
struct Agreement {
  int64_t first_counted = 0;
};

using Expectation = std::variant<Answer, Choice, Likelihood, Agreement>;

struct TaskItem {
  std::string id;      // unique in its task: "row 17", "4096/3"
  int64_t bucket = 0;  // the smallest of context_tokens that holds it
  std::vector<int32_t> prompt;
  Expectation expected;
  std::string digest;  // SHA-256 of all that its score depends on, besides model and config
};

struct Task {
  std::string name;
  std::string kind;
  std::vector<TaskItem> items;  // by bucket
};

// Deterministic: the same spec, files and tokenizer make the same items on every machine. Errors:
// INVALID_ARGUMENT (TASK_INVALID) naming what is wrong with the spec, (TASK_DATA_INVALID) with
// file, line and field, (TEXT_TOO_SHORT), (TASK_EMPTY) when no row fits; NOT_FOUND
// (FILE_NOT_READABLE); of Engine::Tokenize (CHAT_TEMPLATE_MISSING, ...).
absl::StatusOr<Task> MakeTask(const Engine& engine, const TaskSpec& spec);

}  // namespace kvpareto::tune
