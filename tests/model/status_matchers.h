// Expectations on errors by code and reason.
#pragma once

#include <string>

#include "engine/base/status.h"
#include "gtest/gtest.h"

namespace kvpareto {

inline std::string ReasonOf(const absl::Status& status) {
  const std::optional<ErrorInfo> info = GetErrorInfo(status);
  return info.has_value() ? info->reason : "";
}

// `status` carries `reason`, and its message contains `part`.
inline testing::AssertionResult Fails(const absl::Status& status, const std::string& reason,
                                      const std::string& part = "") {
  if (ReasonOf(status) == reason && status.message().find(part) != absl::string_view::npos) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure()
         << "wanted " << reason << " with \"" << part << "\", got " << status.ToString();
}

}  // namespace kvpareto
