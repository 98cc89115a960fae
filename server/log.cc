#include "server/log.h"

#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace kvpareto::server {
namespace {

constexpr std::array<std::string_view, 4> kLevelNames = {"debug", "info", "warning", "error"};

std::atomic<LogFormat> log_format{LogFormat::kText};
std::atomic<LogLevel> log_level{LogLevel::kInfo};

nlohmann::json ToJson(const LogField& field) {
  return std::visit([](const auto& value) { return nlohmann::json(value); }, field.value);
}

std::string Dump(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Values that hold more than plain words are quoted, so that a client cannot forge fields or lines.
std::string ToText(const LogField& field) {
  const std::string* text = std::get_if<std::string>(&field.value);
  if (text == nullptr) return Dump(ToJson(field));
  bool plain = !text->empty();
  for (const unsigned char c : *text) plain = plain && c > ' ' && c < 0x7f && c != '"' && c != '=';
  return plain ? *text : Dump(*text);
}

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (level < log_level.load()) return;
  const std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  std::string line = FormatLogLine(log_format.load(), time, kLevelNames[static_cast<size_t>(level)],
                                   event, fields);
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);  // one call: stdio locks the stream
}

}  // namespace

void SetLogOptions(const LogOptions& options) {
  log_format = options.format;
  log_level = options.level;
}

std::optional<LogLevel> FindLogLevel(std::string_view name) {
  const auto found = std::find(kLevelNames.begin(), kLevelNames.end(), name);
  if (found == kLevelNames.end()) return std::nullopt;
  return static_cast<LogLevel>(found - kLevelNames.begin());
}

std::string FormatLogLine(LogFormat format, std::string_view time, std::string_view level,
                          std::string_view event, std::initializer_list<LogField> fields) {
  if (format == LogFormat::kJson) {
    nlohmann::ordered_json object;
    object["time"] = time;
    object["level"] = level;
    object["event"] = event;
    for (const LogField& field : fields) object[std::string(field.key)] = ToJson(field);
    return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  }
  std::string line;
  for (const std::string_view part : {time, level, event}) {
    if (!line.empty()) line += ' ';
    line += part;
  }
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    line += ToText(field);
  }
  return line;
}

void LogDebug(std::string_view event, std::initializer_list<LogField> fields) {
  Log(LogLevel::kDebug, event, fields);
}
void LogInfo(std::string_view event, std::initializer_list<LogField> fields) {
  Log(LogLevel::kInfo, event, fields);
}
void LogWarning(std::string_view event, std::initializer_list<LogField> fields) {
  Log(LogLevel::kWarning, event, fields);
}
void LogError(std::string_view event, std::initializer_list<LogField> fields) {
  Log(LogLevel::kError, event, fields);
}

void SilenceProtobufLog() { google::protobuf::SetLogHandler(nullptr); }

}  // namespace kvpareto::server
