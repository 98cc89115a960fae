// Errors of the engine: absl::Status plus a machine-readable reason and metadata, which the server
// forwards unchanged as google.rpc.ErrorInfo.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvpareto {

struct ErrorInfo {
  std::string reason;  // UPPER_SNAKE_CASE, stable: clients may switch on it
  std::map<std::string, std::string> metadata;
};

// A status with `info` attached as a payload. `code` must not be kOk.
absl::Status MakeError(absl::StatusCode code, std::string_view reason, std::string_view message,
                       std::map<std::string, std::string> metadata = {});

// The info attached by MakeError, or nullopt.
std::optional<ErrorInfo> GetErrorInfo(const absl::Status& status);

// `status` with "context: " put before its message; code and payloads are kept.
absl::Status Annotate(const absl::Status& status, std::string_view context);

}  // namespace kvpareto

// The two macros that C++20 has no template for: early return on error.
#define KVP_RETURN_IF_ERROR(expr)                                              \
  do {                                                                         \
    if (absl::Status kvp_status = (expr); !kvp_status.ok()) return kvp_status; \
  } while (false)

#define KVP_CONCAT_INNER(a, b) a##b
#define KVP_CONCAT(a, b) KVP_CONCAT_INNER(a, b)
#define KVP_ASSIGN_OR_RETURN(lhs, expr) \
  KVP_ASSIGN_OR_RETURN_IMPL(KVP_CONCAT(kvp_or_, __LINE__), lhs, expr)
#define KVP_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                              \
  if (!tmp.ok()) return std::move(tmp).status();  \
  lhs = std::move(tmp).value()
