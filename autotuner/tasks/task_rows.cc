#include "autotuner/tasks/task_rows.h"

#include <fstream>

namespace kvpareto::tune {
namespace {

absl::Status RowError(const std::string& file, int64_t line, std::string_view field,
                      const std::string& problem) {
  std::string message = file + ":" + std::to_string(line) + ": ";
  if (!field.empty()) message += "\"" + std::string(field) + "\" ";
  return MakeError(absl::StatusCode::kInvalidArgument, "TASK_DATA_INVALID", message + problem,
                   {{"file", file}, {"line", std::to_string(line)}, {"field", std::string(field)}});
}

absl::StatusOr<TaskRow> ParseRow(const std::string& file, int64_t line, const std::string& text) {
  nlohmann::json object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) return RowError(file, line, "", "is not JSON in UTF-8");
  if (!object.is_object()) return RowError(file, line, "", "is not a JSON object");
  return TaskRow(file, line, std::move(object));
}

}  // namespace

absl::Status TaskRow::Error(std::string_view field, const std::string& problem) const {
  return RowError(file_, line_, field, problem);
}

const nlohmann::json* TaskRow::Find(std::string_view field) const {
  const auto found = object_.find(std::string(field));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool TaskRow::Has(std::string_view field) const { return Find(field) != nullptr; }

absl::StatusOr<std::string> TaskRow::Text(std::string_view field) const {
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return Error(field, "is missing");
  if (!value->is_string()) return Error(field, "is not a string");
  return value->get<std::string>();
}

absl::StatusOr<std::optional<std::string>> TaskRow::OptionalText(std::string_view field) const {
  if (!Has(field)) return std::optional<std::string>();
  KVP_ASSIGN_OR_RETURN(std::string text, Text(field));
  return std::optional<std::string>(std::move(text));
}

absl::StatusOr<int64_t> TaskRow::Integer(std::string_view field) const {
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return Error(field, "is missing");
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX});
  if (!fits) return Error(field, "is not an integer");
  return value->get<int64_t>();
}

absl::StatusOr<std::vector<std::string>> TaskRow::Texts(std::string_view field) const {
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return Error(field, "is missing");
  if (value->is_string()) return std::vector<std::string>{value->get<std::string>()};
  if (!value->is_array() || value->empty()) {
    return Error(field, "is not a string or a list of strings");
  }
  std::vector<std::string> texts;
  for (const nlohmann::json& text : *value) {
    if (!text.is_string()) return Error(field, "holds something that is not a string");
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

absl::StatusOr<std::string> TaskRow::Fill(std::string_view prompt) const {
  std::string filled;
  for (size_t i = 0; i < prompt.size();) {
    const std::string_view rest = prompt.substr(i);
    if (rest.starts_with("{{") || rest.starts_with("}}")) {
      filled += rest[0];
      i += 2;
    } else if (rest[0] == '{') {
      const size_t end = std::min(rest.find('}'), rest.size());
      KVP_ASSIGN_OR_RETURN(const std::string text, Text(rest.substr(1, end - 1)));
      filled += text;
      i += end + 1;
    } else {
      filled += rest[0];
      ++i;
    }
  }
  return filled;
}

absl::StatusOr<std::vector<TaskRow>> ReadTaskRows(const std::string& path, int64_t first,
                                                  int64_t count) {
  std::ifstream in(path, std::ios::binary);
  std::vector<TaskRow> rows;
  int64_t line = 0, row = 0;
  std::string text;
  while (std::getline(in, text)) {
    ++line;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (row++ < first) continue;
    if (count > 0 && std::ssize(rows) == count) break;
    KVP_ASSIGN_OR_RETURN(TaskRow parsed, ParseRow(path, line, text));
    rows.push_back(std::move(parsed));
  }
  if (line == 0 && !in.eof()) {
    return MakeError(absl::StatusCode::kNotFound, "FILE_NOT_READABLE", "cannot read " + path,
                     {{"path", path}});
  }
  if (rows.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TASK_EMPTY",
                     path + " has no row from row " + std::to_string(first) + " on",
                     {{"path", path}});
  }
  return rows;
}

}  // namespace kvpareto::tune
