#include "server/json_reader.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

namespace kvpareto::server {

using nlohmann::json;

namespace {

// More than any option needs; copies of values recurse once per level.
constexpr int kMaxDepth = 32;
// A value takes tens of bytes of memory, however short it is: token ids are the longest lists.
constexpr int kMaxValues = 262'144;

// Looks at a text before anything of it is kept. The library's own way of looking, a callback of
// its parser, takes time quadratic in the length of a list of objects.
class Limits final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return Count(); }
  bool boolean(bool) override { return Count(); }
  bool number_integer(number_integer_t) override { return Count(); }
  bool number_unsigned(number_unsigned_t) override { return Count(); }
  bool number_float(number_float_t, const string_t&) override { return Count(); }
  bool string(string_t&) override { return Count(); }
  bool binary(binary_t&) override { return Count(); }
  bool key(string_t&) override { return Count(); }
  bool start_object(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }
  bool parse_error(size_t, const std::string&, const json::exception&) override { return false; }

  // Why the text was refused.
  std::string Rule() const {
    if (depth_ > kMaxDepth) return "nests too deeply";
    return values_ > kMaxValues ? "has too many values" : "is not valid JSON";
  }

 private:
  bool Count() { return ++values_ <= kMaxValues; }
  bool Enter() { return ++depth_ <= kMaxDepth && Count(); }
  bool Leave() {
    --depth_;
    return true;
  }

  int depth_ = 0;
  int values_ = 0;
};

}  // namespace

absl::Status FieldError(std::string_view reason, const std::string& field,
                        const std::string& rule) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, field + " " + rule,
                   {{"field", field}});
}

absl::StatusOr<JsonReader> JsonReader::Parse(std::string_view text, std::string path,
                                             Numbers numbers) {
  Limits limits;
  if (!json::sax_parse(text, &limits)) {
    return FieldError("JSON_INVALID", path.empty() ? "body" : path, limits.Rule());
  }
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  return Create(std::move(value), std::move(path), numbers);
}

absl::StatusOr<JsonReader> JsonReader::Create(json value, std::string path, Numbers numbers) {
  if (!value.is_object()) {
    return FieldError("OPTION_INVALID", path.empty() ? "body" : path, "must be a JSON object");
  }
  return JsonReader(std::move(value), std::move(path), numbers);
}

std::string JsonReader::Path(const std::string& key) const {
  return path_.empty() ? key : path_ + "." + key;
}

absl::Status JsonReader::Error(const std::string& key, const std::string& rule) const {
  return FieldError("OPTION_INVALID", Path(key), rule);
}

const json& JsonReader::Value(const std::string& key) {
  static const json null;
  known_.insert(key);
  const auto found = object_.find(key);
  return found == object_.end() ? null : *found;
}

absl::StatusOr<double> JsonReader::Number(const std::string& key, const json& value) const {
  double number = std::numeric_limits<double>::quiet_NaN();
  if (value.is_number()) number = value.get<double>();
  if (value.is_string() && numbers_ == Numbers::kAlsoInStrings) {
    const std::string& text = value.get_ref<const std::string&>();
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || rest != end) number = std::numeric_limits<double>::quiet_NaN();
  }
  if (!std::isfinite(number)) return Error(key, "must be a number");
  return number;
}

template <typename Integer>
absl::StatusOr<Integer> JsonReader::Whole(const std::string& key, const json& value) const {
  constexpr Integer kMin = std::numeric_limits<Integer>::min();
  constexpr Integer kMax = std::numeric_limits<Integer>::max();
  const absl::Status error = Error(
      key, "must be a whole number from " + std::to_string(kMin) + " to " + std::to_string(kMax));
  if (value.is_number_unsigned()) {  // exact, where a double is not
    const uint64_t number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(kMax)) return error;
    return static_cast<Integer>(number);
  }
  KVP_ASSIGN_OR_RETURN(const double number, Number(key, value));
  // 2^digits, the first value that is too large, is exact as a double.
  const double bound = std::ldexp(1.0, std::numeric_limits<Integer>::digits);
  if (number != std::floor(number) || number < static_cast<double>(kMin) || number >= bound) {
    return error;
  }
  return static_cast<Integer>(number);
}

absl::Status JsonReader::Read(const std::string& key, std::optional<bool>* out) {
  const json& value = Value(key);
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_boolean()) return Error(key, "must be true or false");
  *out = value.get<bool>();
  return absl::OkStatus();
}

absl::Status JsonReader::Read(const std::string& key, std::optional<double>* out) {
  const json& value = Value(key);
  if (value.is_null()) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(*out, Number(key, value));
  return absl::OkStatus();
}

absl::Status JsonReader::Read(const std::string& key, std::optional<float>* out) {
  std::optional<double> number;
  KVP_RETURN_IF_ERROR(Read(key, &number));
  if (number.has_value()) *out = static_cast<float>(*number);
  return absl::OkStatus();
}

absl::Status JsonReader::Read(const std::string& key, std::optional<int32_t>* out) {
  const json& value = Value(key);
  if (value.is_null()) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(*out, Whole<int32_t>(key, value));
  return absl::OkStatus();
}

absl::Status JsonReader::Read(const std::string& key, std::optional<uint64_t>* out) {
  const json& value = Value(key);
  if (value.is_null()) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(*out, Whole<uint64_t>(key, value));
  return absl::OkStatus();
}

absl::Status JsonReader::Read(const std::string& key, std::string* out) {
  const json& value = Value(key);
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_string()) return Error(key, "must be a string");
  *out = value.get<std::string>();
  return absl::OkStatus();
}

absl::Status JsonReader::Read(const std::string& key, std::vector<std::string>* out) {
  const json& value = Value(key);
  if (value.is_null()) return absl::OkStatus();
  out->clear();
  for (const json& item : value.is_array() ? value : json::array({value})) {
    if (!item.is_string()) return Error(key, "must be a string or a list of strings");
    out->push_back(item.get<std::string>());
  }
  return absl::OkStatus();
}

absl::Status JsonReader::Read(const std::string& key, std::vector<int32_t>* out) {
  const json& value = Value(key);
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_array()) return Error(key, "must be a list of whole numbers");
  out->clear();
  for (const json& item : value) {
    KVP_ASSIGN_OR_RETURN(const int32_t number, Whole<int32_t>(key, item));
    out->push_back(number);
  }
  return absl::OkStatus();
}

absl::StatusOr<JsonReader> JsonReader::Object(const std::string& key) {
  const json& value = Value(key);
  return Create(value.is_null() ? json::object() : value, Path(key), numbers_);
}

absl::StatusOr<std::vector<JsonReader>> JsonReader::ListOfObjects(const std::string& key) {
  const json& value = Value(key);
  std::vector<JsonReader> objects;
  if (value.is_null()) return objects;
  if (!value.is_array()) return Error(key, "must be a list");
  for (const json& item : value) {
    const std::string path = Path(key) + "[" + std::to_string(objects.size()) + "]";
    KVP_ASSIGN_OR_RETURN(JsonReader object, Create(item, path, numbers_));
    objects.push_back(std::move(object));
  }
  return objects;
}

absl::Status JsonReader::CheckNoOtherKeys() const {
  for (const auto& [key, value] : object_.items()) {
    if (!known_.contains(key)) {
      return FieldError("OPTION_UNKNOWN", Path(key), "is not known to this server");
    }
  }
  return absl::OkStatus();
}

}  // namespace kvpareto::server
