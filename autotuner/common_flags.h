// Flags and files that every subcommand has.
#pragma once

#include <string>

#include "absl/flags/declare.h"
#include "engine/engine.h"

ABSL_DECLARE_FLAG(std::string, model);
ABSL_DECLARE_FLAG(std::string, text);
ABSL_DECLARE_FLAG(std::string, out);
ABSL_DECLARE_FLAG(int, threads);
ABSL_DECLARE_FLAG(int, kv_capacity_mib);

namespace kvpareto::tune {

// Errors: NOT_FOUND (FILE_NOT_READABLE).
absl::StatusOr<std::string> ReadTextFile(const std::string& path);
// Errors: INTERNAL (FILE_NOT_WRITABLE).
absl::Status WriteTextFile(const std::string& path, const std::string& content);

}  // namespace kvpareto::tune
