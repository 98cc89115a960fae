// Typed look-ups in a GGUF file's metadata.
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/model/byte_reader.h"
#include "engine/model/gguf.h"

namespace kvpareto {
namespace {

absl::Status WrongType(std::string_view key, std::string_view wanted) {
  return InvalidModelConfig(key, std::string("is not ") + std::string(wanted));
}

template <typename T>
T LoadAt(const GgufArray& array, uint64_t i) {
  T value;
  std::memcpy(&value, array.data.data() + i * sizeof(T), sizeof(T));
  return value;
}

template <typename T, typename Wide>
std::vector<Wide> Widened(const GgufArray& array) {
  std::vector<Wide> values(array.count);
  for (uint64_t i = 0; i < array.count; ++i) values[i] = static_cast<Wide>(LoadAt<T>(array, i));
  return values;
}

}  // namespace

const GgufValue* GgufFile::Find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

absl::StatusOr<std::optional<int64_t>> GgufFile::Int(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<int64_t>();
  if (const int64_t* number = std::get_if<int64_t>(value)) return std::optional<int64_t>(*number);
  const uint64_t* number = std::get_if<uint64_t>(value);
  if (number == nullptr) return WrongType(key, "an integer");
  if (*number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return InvalidModelConfig(key, std::to_string(*number) + " is out of range");
  }
  return std::optional<int64_t>(static_cast<int64_t>(*number));
}

absl::StatusOr<std::optional<double>> GgufFile::Number(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<double>();
  if (const double* number = std::get_if<double>(value)) {
    if (!std::isfinite(*number)) return WrongType(key, "finite");
    return std::optional<double>(*number);
  }
  KVP_ASSIGN_OR_RETURN(const std::optional<int64_t> number, Int(key));
  return std::optional<double>(static_cast<double>(*number));
}

absl::StatusOr<std::optional<bool>> GgufFile::Bool(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<bool>();
  const bool* flag = std::get_if<bool>(value);
  if (flag == nullptr) return WrongType(key, "a boolean");
  return std::optional<bool>(*flag);
}

absl::StatusOr<std::optional<std::string_view>> GgufFile::String(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::string_view>();
  const std::string_view* text = std::get_if<std::string_view>(value);
  if (text == nullptr) return WrongType(key, "a string");
  return std::optional<std::string_view>(*text);
}

absl::StatusOr<std::optional<std::vector<std::string_view>>> GgufFile::Strings(
    std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::vector<std::string_view>>();
  const GgufArray* array = std::get_if<GgufArray>(value);
  if (array == nullptr || array->element != GgufValueType::kString) {
    return WrongType(key, "an array of strings");
  }
  std::vector<std::string_view> texts(array->count);
  ByteReader reader(array->data);
  for (std::string_view& text : texts) {
    KVP_ASSIGN_OR_RETURN(text, reader.String());
  }
  return std::optional(std::move(texts));
}

absl::StatusOr<std::optional<std::vector<int64_t>>> GgufFile::Ints(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::vector<int64_t>>();
  const GgufArray* array = std::get_if<GgufArray>(value);
  if (array != nullptr && array->element == GgufValueType::kInt32) {
    return std::optional(Widened<int32_t, int64_t>(*array));
  }
  if (array != nullptr && array->element == GgufValueType::kUint32) {
    return std::optional(Widened<uint32_t, int64_t>(*array));
  }
  return WrongType(key, "an array of 32-bit integers");
}

absl::StatusOr<std::optional<std::vector<float>>> GgufFile::Floats(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::vector<float>>();
  const GgufArray* array = std::get_if<GgufArray>(value);
  if (array == nullptr || array->element != GgufValueType::kFloat32) {
    return WrongType(key, "an array of floats");
  }
  return std::optional(Widened<float, float>(*array));
}

}  // namespace kvpareto
