#include "autotuner/report/json_view.h"

#include <cmath>
#include <limits>

namespace kvpareto::tune {
namespace {

const nlohmann::json& Null() {
  static const nlohmann::json null;
  return null;
}
const nlohmann::json& EmptyList() {
  static const nlohmann::json empty = nlohmann::json::array();
  return empty;
}
const nlohmann::json& EmptyObject() {
  static const nlohmann::json empty = nlohmann::json::object();
  return empty;
}

}  // namespace

const nlohmann::json& JsonView::Find(const std::string& key) const {
  const auto found = value_.find(key);
  return found == value_.end() ? Null() : *found;
}

void JsonView::Fail(const std::string& path, const std::string& wanted) const {
  if (!error_->ok()) return;
  *error_ = MakeError(absl::StatusCode::kInvalidArgument, "RESULTS_INVALID",
                      path + " is not " + wanted, {{"member", path}});
}

bool JsonView::Has(const std::string& key) const { return !Find(key).is_null(); }

double JsonView::NumberOf(const nlohmann::json& value, const std::string& path) const {
  if (value.is_null()) return 0.0;
  if (value.is_number() && std::isfinite(value.get<double>())) return value.get<double>();
  Fail(path, "a number");
  return 0.0;
}

int64_t JsonView::IntegerOf(const nlohmann::json& value, const std::string& path) const {
  if (value.is_null()) return 0;
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > kMax)) {
    return value.get<int64_t>();
  }
  Fail(path, "an integer");
  return 0;
}

std::string JsonView::TextOf(const nlohmann::json& value, const std::string& path) const {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  Fail(path, "a string");
  return "";
}

std::string JsonView::Text(const std::string& key) const { return TextOf(Find(key), PathOf(key)); }

double JsonView::Number(const std::string& key) const { return NumberOf(Find(key), PathOf(key)); }

int64_t JsonView::Integer(const std::string& key) const {
  return IntegerOf(Find(key), PathOf(key));
}

bool JsonView::Boolean(const std::string& key, bool otherwise) const {
  const nlohmann::json& value = Find(key);
  if (value.is_boolean()) return value.get<bool>();
  if (!value.is_null()) Fail(PathOf(key), "true or false");
  return otherwise;
}

std::vector<int64_t> JsonView::Integers(const std::string& key) const {
  const nlohmann::json& list = Find(key).is_null() ? EmptyList() : Find(key);
  if (!list.is_array()) Fail(PathOf(key), "a list of integers");
  std::vector<int64_t> values;
  for (const nlohmann::json& value : list) values.push_back(IntegerOf(value, PathOf(key)));
  return values;
}

std::vector<std::string> JsonView::Texts(const std::string& key) const {
  const nlohmann::json& list = Find(key).is_null() ? EmptyList() : Find(key);
  if (!list.is_array()) Fail(PathOf(key), "a list of strings");
  std::vector<std::string> values;
  for (const nlohmann::json& value : list) values.push_back(TextOf(value, PathOf(key)));
  return values;
}

JsonView JsonView::Object(const std::string& key) const {
  const nlohmann::json& value = Find(key);
  if (value.is_object()) return {value, PathOf(key), error_};
  if (!value.is_null()) Fail(PathOf(key), "an object");
  return {EmptyObject(), PathOf(key), error_};
}

std::vector<JsonView> JsonView::Objects(const std::string& key) const {
  const nlohmann::json& list = Find(key).is_null() ? EmptyList() : Find(key);
  if (!list.is_array()) {
    Fail(PathOf(key), "a list");
    return {};
  }
  std::vector<JsonView> views;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string path = PathOf(key) + "[" + std::to_string(i) + "]";
    if (!list[i].is_object()) {
      Fail(path, "an object");
      return views;
    }
    views.emplace_back(list[i], path, error_);
  }
  return views;
}

std::map<std::string, double> JsonView::Numbers(const std::string& key) const {
  std::map<std::string, double> numbers;
  const JsonView object = Object(key);
  for (const auto& [name, value] : object.value_.items()) {
    numbers[name] = NumberOf(value, object.PathOf(name));
  }
  return numbers;
}

}  // namespace kvpareto::tune
