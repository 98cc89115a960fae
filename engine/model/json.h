// JSON from untrusted files: parsed without exceptions, nesting bounded, members read by type.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace kvpareto {

using Json = nlohmann::json;

// Errors: MODEL_FILE_CORRUPT (not JSON, not UTF-8, or nested deeper than 64).
absl::StatusOr<Json> ParseJson(std::string_view text);

// The file as JSON. Errors also those of ReadFile.
absl::StatusOr<Json> ReadJsonFile(const std::string& path, size_t max_bytes);

// Members of an object. Absent and null are the same: nullopt. MODEL_CONFIG_INVALID when `object`
// is none or the member has another type.
absl::StatusOr<std::optional<int64_t>> JsonInt(const Json& object, std::string_view key);
absl::StatusOr<std::optional<double>> JsonNumber(const Json& object, std::string_view key);
absl::StatusOr<std::optional<bool>> JsonBool(const Json& object, std::string_view key);
absl::StatusOr<std::optional<std::string>> JsonString(const Json& object, std::string_view key);

// The member, or a null value where there is none (or `object` is no object).
const Json& JsonMember(const Json& object, std::string_view key);

}  // namespace kvpareto
