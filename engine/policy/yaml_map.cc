#include "engine/policy/yaml_map.h"

#include <charconv>
#include <cmath>
#include <exception>
#include <utility>

namespace kvpareto {
namespace {

template <typename T>
bool ParseAll(const std::string& text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::string Shortened(const std::string& text) {
  return text.size() > 64 ? text.substr(0, 64) + "..." : text;
}

std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  quoted += Shortened(text);
  return quoted += '\'';
}

std::string NumberText(double value) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

}  // namespace

void YamlErrors::Fail(const YAML::Node& at, const std::string& path, const std::string& message) {
  if (!first.ok()) return;
  const std::string line = std::to_string(at.IsDefined() ? at.Mark().line + 1 : 0);
  first = MakeError(absl::StatusCode::kInvalidArgument, reason,
                    file_name + ":" + line + ": " + (path.empty() ? "" : path + ": ") + message,
                    {{"file", file_name}, {"line", line}, {"key", path}});
}

YamlMap::YamlMap(YAML::Node node, std::string path, YamlErrors* errors)
    : node_(std::move(node)), path_(std::move(path)), errors_(errors) {
  if (!errors_->first.ok()) return;
  if (!node_.IsMap()) {
    errors_->Fail(node_, path_, "expected a map");
    return;
  }
  std::set<std::string> keys;
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) {
      errors_->Fail(entry.first, path_, "a key is not a word");
    } else if (!keys.insert(entry.first.Scalar()).second) {
      errors_->Fail(entry.first, PathOf(entry.first.Scalar()), "stands there twice");
    }
  }
}

bool YamlMap::Has(const std::string& key) {
  read_.insert(key);
  if (!errors_->first.ok()) return false;
  for (const auto& entry : node_) {
    if (entry.first.Scalar() == key) return true;
  }
  return false;
}

void YamlMap::String(const std::string& key, std::string& value) { value = Scalar(key); }

void YamlMap::Number(const std::string& key, double min, double max, double& value) {
  const std::string text = Scalar(key);
  if (errors_->first.ok()) ParseNumber(key, text, min, max, value);
}

void YamlMap::Numbers(const std::string& key, double min, double max, std::vector<double>& values) {
  values.clear();
  for (const std::string& text : Scalars(key)) {
    ParseNumber(key, text, min, max, values.emplace_back());
  }
}

void YamlMap::ParseNumber(const std::string& key, const std::string& text, double min, double max,
                          double& value) {
  if (!ParseAll(text, value) || !std::isfinite(value)) {
    Fail(key, Quoted(text) + " is not a number");
  } else if (value < min || value > max) {
    Fail(key, text + " is not in " + NumberText(min) + ".." + NumberText(max));
  }
}

void YamlMap::Integer(const std::string& key, int64_t min, int64_t max, int64_t& value) {
  const std::string text = Scalar(key);
  if (errors_->first.ok()) ParseInteger(key, text, min, max, value);
}

void YamlMap::Strings(const std::string& key, std::vector<std::string>& values) {
  values = Scalars(key);
}

void YamlMap::Integers(const std::string& key, int64_t min, int64_t max,
                       std::vector<int64_t>& values) {
  values.clear();
  for (const std::string& text : Scalars(key)) {
    ParseInteger(key, text, min, max, values.emplace_back());
  }
}

void YamlMap::ParseInteger(const std::string& key, const std::string& text, int64_t min,
                           int64_t max, int64_t& value) {
  if (!ParseAll(text, value)) {
    Fail(key, Quoted(text) + " is not a whole number");
  } else if (value < min || value > max) {
    Fail(key, text + " is not in " + std::to_string(min) + ".." + std::to_string(max));
  }
}

YamlMap YamlMap::Map(const std::string& key) { return {Find(key), PathOf(key), errors_}; }

std::vector<YamlMap> YamlMap::Maps(const std::string& key) {
  std::vector<YamlMap> maps;
  const YAML::Node list = Find(key);
  if (!errors_->first.ok()) return maps;
  if (!list.IsSequence()) {
    errors_->Fail(list, PathOf(key), "expected a list");
    return maps;
  }
  for (size_t i = 0; i < list.size(); ++i) {
    maps.emplace_back(list[i], PathOf(key) + "[" + std::to_string(i) + "]", errors_);
  }
  return maps;
}

void YamlMap::Fail(const std::string& key, const std::string& message) {
  if (!errors_->first.ok()) return;
  errors_->Fail(Find(key), PathOf(key), message);
}

std::string YamlMap::Where() const {
  return errors_->file_name + ":" + std::to_string(node_.Mark().line + 1);
}

void YamlMap::Finish() {
  if (!errors_->first.ok()) return;
  for (const auto& entry : node_) {
    const std::string& key = entry.first.Scalar();
    if (read_.contains(key)) continue;
    std::string known;
    for (const std::string& name : read_) known += (known.empty() ? "" : ", ") + name;
    errors_->Fail(entry.first, PathOf(Shortened(key)), "unknown key; there are " + known);
    return;
  }
}

YAML::Node YamlMap::Find(const std::string& key) {
  read_.insert(key);
  if (!errors_->first.ok()) return YAML::Node(YAML::NodeType::Undefined);
  for (const auto& entry : node_) {
    if (entry.first.Scalar() == key) return entry.second;
  }
  errors_->Fail(node_, PathOf(key), "is missing");
  return YAML::Node(YAML::NodeType::Undefined);
}

std::string YamlMap::Scalar(const std::string& key) {
  const YAML::Node node = Find(key);
  if (!errors_->first.ok()) return "";
  if (!node.IsScalar()) {
    errors_->Fail(node, PathOf(key), "expected a single value");
    return "";
  }
  return node.Scalar();
}

std::vector<std::string> YamlMap::Scalars(const std::string& key) {
  std::vector<std::string> values;
  const YAML::Node list = Find(key);
  if (!errors_->first.ok()) return values;
  if (!list.IsSequence()) {
    errors_->Fail(list, PathOf(key), "expected a list");
    return values;
  }
  for (const YAML::Node& entry : list) {
    if (!entry.IsScalar()) {
      errors_->Fail(entry, PathOf(key), "expected single values");
      return values;
    }
    values.push_back(entry.Scalar());
  }
  return values;
}

std::string YamlMap::PathOf(const std::string& key) const {
  return path_.empty() ? key : path_ + "." + key;
}

absl::Status ReadYaml(const std::string& text, YamlErrors& errors,
                      const std::function<void(YamlMap)>& read) {
  try {
    read(YamlMap(YAML::Load(text), "", &errors));
  } catch (const YAML::Exception& e) {
    const std::string line = std::to_string(e.mark.line + 1);
    return MakeError(absl::StatusCode::kInvalidArgument, errors.reason,
                     errors.file_name + ":" + line + ": not YAML: " + e.msg,
                     {{"file", errors.file_name}, {"line", line}});
  } catch (const std::exception& e) {
    return MakeError(absl::StatusCode::kInvalidArgument, errors.reason,
                     errors.file_name + ": not YAML: " + e.what(), {{"file", errors.file_name}});
  }
  return errors.first;
}

}  // namespace kvpareto
