// One line per event on stderr, as text or JSON. Events never hold prompt or output text.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace kvpareto::server {

enum class LogFormat : uint8_t { kText, kJson };
enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

struct LogOptions {
  LogFormat format = LogFormat::kText;
  LogLevel level = LogLevel::kInfo;  // events below it are not written
};

struct LogField {
  std::string_view key;
  std::variant<std::string, int64_t, uint64_t, double> value;
};

// Takes effect for every later line of the process. Thread-safe.
void SetLogOptions(const LogOptions& options);

// "debug", "info", "warning" or "error"; nothing for another word.
std::optional<LogLevel> FindLogLevel(std::string_view name);

// "2026-01-31T12:00:00.000Z info listening address=127.0.0.1:50051", or the same as a JSON object.
// Thread-safe; lines never mix.
void LogDebug(std::string_view event, std::initializer_list<LogField> fields = {});
void LogInfo(std::string_view event, std::initializer_list<LogField> fields = {});
void LogWarning(std::string_view event, std::initializer_list<LogField> fields = {});
void LogError(std::string_view event, std::initializer_list<LogField> fields = {});

// The line without its end, for tests.
std::string FormatLogLine(LogFormat format, std::string_view time, std::string_view level,
                          std::string_view event, std::initializer_list<LogField> fields);

// Sends Protobuf's own messages (such as those about invalid UTF-8 in a client's request, which
// anyone can provoke) nowhere; the request's error says the same.
void SilenceProtobufLog();

}  // namespace kvpareto::server
