// LongBench's question-answering tasks in English, from its own JSONL (github.com/THUDM/LongBench):
// prompts of config/dataset2prompt.json and answer lengths of config/dataset2maxlen.json, word for
// word; truncation in the middle before the chat template (pred.py); F1 over the best reference.
#include <algorithm>
#include <array>
#include <string>

#include "autotuner/tasks/task_kinds.h"
#include "autotuner/tasks/task_prompt.h"

namespace kvpareto::tune {
namespace {

struct Dataset {
  std::string_view name;
  std::string_view prompt;
  int max_new_tokens;
};

constexpr std::string_view kPassages =
    "Answer the question based on the given passages. Only give me the answer and do not output "
    "any "
    "other words.\n\nThe following are given passages.\n{context}\n\nAnswer the question based on "
    "the given passages. Only give me the answer and do not output any other words.\n\nQuestion: "
    "{input}\nAnswer:";

constexpr std::array kDatasets = {
    Dataset{"hotpotqa", kPassages, 32},
    Dataset{"2wikimqa", kPassages, 32},
    Dataset{"musique", kPassages, 32},
    Dataset{
        "qasper",
        "You are given a scientific article and a question. Answer the question as concisely as "
        "you "
        "can, using a single phrase or sentence if possible. If the question cannot be answered "
        "based on the information in the article, write \"unanswerable\". If the question is a "
        "yes/no question, answer \"yes\", \"no\", or \"unanswerable\". Do not provide any "
        "explanation.\n\nArticle: {context}\n\n Answer the question based on the above article as "
        "concisely as you can, using a single phrase or sentence if possible. If the question "
        "cannot be answered based on the information in the article, write \"unanswerable\". If "
        "the "
        "question is a yes/no question, answer \"yes\", \"no\", or \"unanswerable\". Do not "
        "provide "
        "any explanation.\n\nQuestion: {input}\n\nAnswer:",
        128},
    Dataset{"multifieldqa_en",
            "Read the following text and answer briefly.\n\n{context}\n\nNow, answer the following "
            "question based on the above text, only give me the answer and do not output any other "
            "words.\n\nQuestion: {input}\nAnswer:",
            64},
    // "asconcisely" is the benchmark's own spelling.
    Dataset{"narrativeqa",
            "You are given a story, which can be either a novel or a movie script, and a question. "
            "Answer the question asconcisely as you can, using a single phrase if possible. Do not "
            "provide any explanation.\n\nStory: {context}\n\nNow, answer the question based on the "
            "story asconcisely as you can, using a single phrase if possible. Do not provide any "
            "explanation.\n\nQuestion: {input}\n\nAnswer:",
            128},
};

// Of a row, or of all rows when the spec names it. LongBench-E's names end in "_e".
const Dataset* FindDataset(std::string_view name) {
  if (name.ends_with("_e")) name.remove_suffix(2);
  const auto* found = std::find_if(kDatasets.begin(), kDatasets.end(),
                                   [&](const Dataset& dataset) { return dataset.name == name; });
  return found == kDatasets.end() ? nullptr : found;
}

std::string UnknownDataset(const std::string& name) {
  std::string known;
  for (const Dataset& dataset : kDatasets) known += " " + std::string(dataset.name);
  return "is \"" + name + "\", which has no prompt here; known are" + known;
}

absl::StatusOr<TaskItem> MakeItem(const TaskContext& context, const TaskRow& row) {
  std::string name = context.spec.dataset;
  if (name.empty()) {
    KVP_ASSIGN_OR_RETURN(name, row.Text("dataset"));
  }
  const Dataset* dataset = FindDataset(name);
  if (dataset == nullptr) return row.Error("dataset", UnknownDataset(name));
  const std::string_view prompt =
      context.spec.prompt.empty() ? dataset->prompt : std::string_view(context.spec.prompt);
  TaskItem item;
  KVP_ASSIGN_OR_RETURN(std::string text, row.Fill(prompt));
  KVP_ASSIGN_OR_RETURN(text, TruncateMiddle(context.engine, text, context.MaxPromptTokens()));
  KVP_ASSIGN_OR_RETURN(item.prompt, MakePrompt(context.engine, text, context.Chat(true)));
  Answer answer{.metric = Metric::kF1,
                .references = {},
                .max_new_tokens = context.MaxNewTokens(dataset->max_new_tokens),
                .stop_strings = {}};
  KVP_ASSIGN_OR_RETURN(answer.references, row.Texts("answers"));
  item.expected = std::move(answer);
  return item;
}

}  // namespace

absl::StatusOr<std::vector<TaskItem>> MakeLongBench(const TaskContext& context) {
  const TaskSpec& spec = context.spec;
  if (!spec.dataset.empty() && FindDataset(spec.dataset) == nullptr) {
    return TaskError(spec, "dataset " + UnknownDataset(spec.dataset));
  }
  KVP_ASSIGN_OR_RETURN(const std::vector<TaskRow> rows,
                       ReadTaskRows(spec.path, spec.first_row, spec.rows));
  return ItemsOfRows(context, rows, [&](const TaskRow& row) { return MakeItem(context, row); });
}

}  // namespace kvpareto::tune
