#include "engine/model/json.h"

#include <cmath>
#include <limits>

#include "engine/base/mapped_file.h"
#include "engine/model/model_error.h"

namespace kvpareto {
namespace {

constexpr int kMaxNesting = 64;

bool NestsTooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxNesting) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

absl::Status WrongType(std::string_view key, std::string_view wanted) {
  return InvalidModelConfig(key, "is not " + std::string(wanted));
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text) {
  if (NestsTooDeep(text)) {
    return CorruptFile("JSON nests deeper than " + std::to_string(kMaxNesting));
  }
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return CorruptFile("not valid JSON in UTF-8");
  return json;
}

absl::StatusOr<Json> ReadJsonFile(const std::string& path, size_t max_bytes) {
  KVP_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, max_bytes));
  absl::StatusOr<Json> json = ParseJson(text);
  if (!json.ok()) return Annotate(json.status(), path);
  return json;
}

const Json& JsonMember(const Json& object, std::string_view key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(std::string(key));
  return found == object.end() ? kNull : *found;
}

absl::StatusOr<std::optional<int64_t>> JsonInt(const Json& object, std::string_view key) {
  const Json& value = JsonMember(object, key);
  if (value.is_null()) return std::optional<int64_t>();
  if (!value.is_number_integer()) return WrongType(key, "an integer");
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return InvalidModelConfig(key, "is out of range");
  }
  return std::optional<int64_t>(value.get<int64_t>());
}

absl::StatusOr<std::optional<double>> JsonNumber(const Json& object, std::string_view key) {
  const Json& value = JsonMember(object, key);
  if (value.is_null()) return std::optional<double>();
  if (!value.is_number() || !std::isfinite(value.get<double>())) return WrongType(key, "a number");
  return std::optional<double>(value.get<double>());
}

absl::StatusOr<std::optional<bool>> JsonBool(const Json& object, std::string_view key) {
  const Json& value = JsonMember(object, key);
  if (value.is_null()) return std::optional<bool>();
  if (!value.is_boolean()) return WrongType(key, "a boolean");
  return std::optional<bool>(value.get<bool>());
}

absl::StatusOr<std::optional<std::string>> JsonString(const Json& object, std::string_view key) {
  const Json& value = JsonMember(object, key);
  if (value.is_null()) return std::optional<std::string>();
  if (!value.is_string()) return WrongType(key, "a string");
  return std::optional<std::string>(value.get<std::string>());
}

}  // namespace kvpareto
