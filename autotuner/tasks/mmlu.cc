// Multiple choice (MMLU's rows: question, choices, answer, subject), as lm-evaluation-harness has
// it: the letters' likelihoods behind "Answer:" are compared; nothing is generated.
#include <map>
#include <string>

#include "autotuner/tasks/task_kinds.h"
#include "autotuner/tasks/task_prompt.h"

namespace kvpareto::tune {
namespace {

constexpr int kShots = 5;
constexpr size_t kMaxChoices = 26;

std::string Letter(size_t choice) { return std::string(1, static_cast<char>('A' + choice)); }

struct Question {
  std::string subject;
  std::string text;  // with its choices, up to "Answer:"
  size_t choices = 0;
  size_t right = 0;
};

std::string Stripped(const std::string& text) {
  constexpr std::string_view kSpaces = " \t\n\r\f\v";
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin);
}

// The answer is a letter, or a number that counts from 0.
absl::StatusOr<size_t> RightChoice(const TaskRow& row, size_t choices) {
  int64_t right = -1;
  if (const auto letter = row.Text("answer"); letter.ok()) {
    right = letter->size() == 1 ? (*letter)[0] - 'A' : -1;
  } else {
    KVP_ASSIGN_OR_RETURN(right, row.Integer("answer"));
  }
  if (right < 0 || right >= static_cast<int64_t>(choices)) {
    return row.Error("answer", "is none of the " + std::to_string(choices) + " choices");
  }
  return static_cast<size_t>(right);
}

absl::StatusOr<Question> ReadQuestion(const TaskRow& row) {
  Question question;
  KVP_ASSIGN_OR_RETURN(question.subject, row.Has("subject") ? row.Text("subject") : std::string());
  KVP_ASSIGN_OR_RETURN(const std::string text, row.Text("question"));
  KVP_ASSIGN_OR_RETURN(const std::vector<std::string> choices, row.Texts("choices"));
  if (choices.size() < 2 || choices.size() > kMaxChoices) {
    return row.Error("choices", "must be 2 to " + std::to_string(kMaxChoices));
  }
  question.choices = choices.size();
  KVP_ASSIGN_OR_RETURN(question.right, RightChoice(row, choices.size()));
  question.text = Stripped(text) + "\n";
  for (size_t i = 0; i < choices.size(); ++i) question.text += Letter(i) + ". " + choices[i] + "\n";
  question.text += "Answer:";
  return question;
}

std::string Introduction(std::string subject) {
  for (char& c : subject) c = c == '_' ? ' ' : c;
  return "The following are multiple choice questions (with answers)" +
         (subject.empty() ? "" : " about " + subject) + ".\n\n";
}

// Examples by subject, the first of each. Rows of the same file that became one are taken out.
using Examples = std::map<std::string, std::string>;
absl::StatusOr<Examples> TakeExamples(std::vector<TaskRow>& rows, int shots, bool take_out) {
  Examples examples;
  std::map<std::string, int> taken;
  std::vector<TaskRow> rest;
  for (TaskRow& row : rows) {
    KVP_ASSIGN_OR_RETURN(const Question question, ReadQuestion(row));
    if (taken[question.subject] == shots) {
      rest.push_back(std::move(row));
      continue;
    }
    ++taken[question.subject];
    examples[question.subject] += question.text + " " + Letter(question.right) + "\n\n";
  }
  if (take_out) rows = std::move(rest);
  return examples;
}

absl::StatusOr<TaskItem> MakeItem(const TaskContext& context, const Examples& examples,
                                  const TaskRow& row) {
  KVP_ASSIGN_OR_RETURN(const Question question, ReadQuestion(row));
  const bool chat = context.Chat(false);
  const auto shots = examples.find(question.subject);
  const std::string text = Introduction(question.subject) +
                           (shots == examples.end() ? "" : shots->second) + question.text;
  TaskItem item;
  KVP_ASSIGN_OR_RETURN(item.prompt, MakePrompt(context.engine, text, chat));
  Choice choice{.options = {}, .right = static_cast<int>(question.right)};
  for (size_t i = 0; i < question.choices; ++i) {
    KVP_ASSIGN_OR_RETURN(std::vector<int32_t> option,
                         TokenizeContinuation(context.engine, (chat ? "" : " ") + Letter(i)));
    choice.options.push_back(std::move(option));
  }
  item.expected = std::move(choice);
  return item;
}

}  // namespace

absl::StatusOr<std::vector<TaskItem>> MakeMmlu(const TaskContext& context) {
  const TaskSpec& spec = context.spec;
  const bool own_file = !spec.shots_path.empty();
  const int shots = spec.shots >= 0 ? spec.shots : own_file ? kShots : 0;
  KVP_ASSIGN_OR_RETURN(std::vector<TaskRow> rows,
                       ReadTaskRows(spec.path, spec.first_row, spec.rows));
  Examples examples;
  if (shots > 0 && own_file) {
    KVP_ASSIGN_OR_RETURN(std::vector<TaskRow> example_rows, ReadTaskRows(spec.shots_path, 0, 0));
    KVP_ASSIGN_OR_RETURN(examples, TakeExamples(example_rows, shots, /*take_out=*/false));
  } else if (shots > 0) {
    KVP_ASSIGN_OR_RETURN(examples, TakeExamples(rows, shots, /*take_out=*/true));
  }
  return ItemsOfRows(context, rows,
                     [&](const TaskRow& row) { return MakeItem(context, examples, row); });
}

}  // namespace kvpareto::tune
