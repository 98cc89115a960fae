// The rows of a JSONL file, read with errors that name file, line and field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "autotuner/task.h"

namespace kvpareto::tune {

// One row. Fields are read by type; an error is INVALID_ARGUMENT (TASK_DATA_INVALID, metadata
// "file", "line", "field").
class TaskRow {
 public:
  TaskRow(std::string file, int64_t line, nlohmann::json object)
      : file_(std::move(file)), line_(line), object_(std::move(object)) {}

  absl::StatusOr<std::string> Text(std::string_view field) const;
  // Absent or null: nullopt.
  absl::StatusOr<std::optional<std::string>> OptionalText(std::string_view field) const;
  absl::StatusOr<int64_t> Integer(std::string_view field) const;
  // A string, or a list of strings; at least one.
  absl::StatusOr<std::vector<std::string>> Texts(std::string_view field) const;
  bool Has(std::string_view field) const;

  // `prompt` with every "{field}" replaced by that text field; "{{" and "}}" are braces.
  absl::StatusOr<std::string> Fill(std::string_view prompt) const;
  absl::Status Error(std::string_view field, const std::string& problem) const;
  int64_t line() const { return line_; }

 private:
  const nlohmann::json* Find(std::string_view field) const;

  std::string file_;
  int64_t line_;
  nlohmann::json object_;
};

// The file's rows first, first + 1, ... (`count` of them; 0: all), empty lines not counted. Errors
// also: NOT_FOUND (FILE_NOT_READABLE); INVALID_ARGUMENT (TASK_EMPTY) when there is none.
absl::StatusOr<std::vector<TaskRow>> ReadTaskRows(const std::string& path, int64_t first,
                                                  int64_t count);

}  // namespace kvpareto::tune
