// Refusals that end by themselves.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace kvpareto {

// RESOURCE_EXHAUSTED with metadata "retry_after_ms", which the server turns into RetryInfo.
inline absl::Status TryAgain(std::string_view reason, std::string_view message,
                             std::chrono::milliseconds after,
                             std::map<std::string, std::string> metadata = {}) {
  metadata["retry_after_ms"] = std::to_string(after.count());
  return MakeError(absl::StatusCode::kResourceExhausted, reason, message, std::move(metadata));
}

}  // namespace kvpareto
