// Traces as files (declared in trace.h).
#include <algorithm>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "autotuner/simulator/trace.h"
#include "autotuner/simulator/words.h"
#include "engine/base/mapped_file.h"
#include "engine/model/json.h"

namespace kvpareto::sim {
namespace {

constexpr size_t kMaxTraceBytes = size_t{1} << 30;

absl::StatusOr<Words> JsonWords(const std::string& line) {
  KVP_ASSIGN_OR_RETURN(const Json object, ParseJson(line));
  if (!object.is_object()) return absl::InvalidArgumentError("expected a JSON object");
  Words words;
  for (const auto& [key, value] : object.items()) {
    if (value.is_string()) {
      words[key] = value.get<std::string>();
    } else if (value.is_number()) {
      words[key] = value.dump();
    } else if (!value.is_null()) {
      return absl::InvalidArgumentError(absl::StrCat(key, " is neither text nor a number"));
    }
  }
  return words;
}

absl::StatusOr<Words> CsvWords(const std::string& line, const std::vector<std::string>& columns) {
  const std::vector<std::string> cells = absl::StrSplit(line, ',');
  if (cells.size() != columns.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", cells.size(), " columns, not ", columns.size()));
  }
  Words words;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (!cells[i].empty()) words[columns[i]] = cells[i];
  }
  return words;
}

absl::StatusOr<TraceRequest> FromWords(Words words) {
  TraceRequest request;
  WordReader reader(&words);
  reader.Number("arrival", 0.0, 1e9, request.arrival_seconds, /*required=*/true);
  reader.Integer("prompt_tokens", 1, 100'000'000, request.prompt_tokens, /*required=*/true);
  reader.Integer("output_tokens", 1, 100'000'000, request.output_tokens, /*required=*/true);
  request.max_tokens = request.output_tokens;
  reader.Integer("max_tokens", 1, 100'000'000, request.max_tokens);
  reader.Integer("shared_tokens", 0, 100'000'000, request.shared_tokens);
  reader.Text("class", request.service_class);
  reader.Kv(request.kv);
  double deadline = 0.0;
  if (reader.Number("deadline", 0.0, 1e9, deadline)) request.deadline_seconds = deadline;
  KVP_RETURN_IF_ERROR(reader.Finish());
  if (request.output_tokens > request.max_tokens) {
    return absl::InvalidArgumentError("output_tokens is above max_tokens");
  }
  return request;
}

}  // namespace

absl::StatusOr<std::vector<TraceRequest>> ParseTrace(const std::string& text,
                                                     const std::string& file_name) {
  std::vector<TraceRequest> trace;
  std::vector<std::string> columns;
  int number = 0;
  for (const absl::string_view view : absl::StrSplit(text, '\n')) {
    ++number;
    const std::string line(absl::StripSuffix(view, "\r"));
    if (line.empty()) continue;
    const bool json = line.front() == '{';
    if (!json && columns.empty()) {
      columns = absl::StrSplit(line, ',');
      continue;
    }
    absl::StatusOr<Words> words = json ? JsonWords(line) : CsvWords(line, columns);
    absl::StatusOr<TraceRequest> request =
        words.ok() ? FromWords(*std::move(words)) : words.status();
    if (!request.ok()) {
      return MakeError(absl::StatusCode::kInvalidArgument, "TRACE_INVALID",
                       absl::StrCat(file_name, ":", number, ": ", request.status().message()));
    }
    trace.push_back(*std::move(request));
  }
  std::stable_sort(trace.begin(), trace.end(), [](const auto& a, const auto& b) {
    return a.arrival_seconds < b.arrival_seconds;
  });
  return trace;
}

absl::StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path) {
  KVP_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxTraceBytes));
  return ParseTrace(text, path);
}

}  // namespace kvpareto::sim
