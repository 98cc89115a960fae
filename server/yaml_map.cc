#include "server/yaml_map.h"

#include <charconv>
#include <optional>

#include "engine/base/units.h"

namespace kvpareto::server {
namespace {

absl::Status ConfigError(const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CONFIG_INVALID", message);
}

}  // namespace

absl::StatusOr<YamlMap> YamlMap::Create(YAML::Node node, std::string file, std::string path) {
  YamlMap map(std::move(node), std::move(file), std::move(path));
  if (map.node_.IsDefined() && map.node_.IsNull()) map.node_.reset(YAML::Node(YAML::NodeType::Map));
  if (map.node_.IsDefined() && !map.node_.IsMap()) {
    return map.Error("", "must be a mapping (key: value lines)");
  }
  KVP_RETURN_IF_ERROR(map.CheckKeys());
  return map;
}

absl::StatusOr<YamlMap> YamlMap::Parse(const std::string& text, const std::string& file) {
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& error) {
    return ConfigError(file + ":" + std::to_string(error.mark.line + 1) + ": " + error.msg);
  }
  return Create(root, file, "");
}

// Only plain, unique keys: yaml-cpp keeps duplicates silently.
absl::Status YamlMap::CheckKeys() const {
  std::set<std::string> seen;
  if (!node_.IsDefined()) return absl::OkStatus();
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) return ErrorAt(entry.first.Mark(), "", "keys must be plain words");
    if (!seen.insert(entry.first.Scalar()).second) {
      return ErrorAt(entry.first.Mark(), entry.first.Scalar(), "is there twice");
    }
  }
  return absl::OkStatus();
}

YAML::Node YamlMap::Find(const std::string& key) {
  known_.insert(key);
  // A const node's operator[] does not create the key.
  const YAML::Node& node = node_;
  return node.IsDefined() ? node[key] : YAML::Node(YAML::NodeType::Undefined);
}

bool YamlMap::Has(const std::string& key) { return Find(key).IsDefined(); }

std::string YamlMap::Path(const std::string& key) const {
  return path_.empty() || key.empty() ? path_ + key : path_ + "." + key;
}

absl::Status YamlMap::ErrorAt(const YAML::Mark& mark, const std::string& key,
                              const std::string& message) const {
  const std::string where = Path(key);
  return ConfigError(file_ + ":" + std::to_string(mark.line + 1) + ": " +
                     (where.empty() ? "" : where + ": ") + message);
}

absl::Status YamlMap::Error(const std::string& key, const std::string& message) const {
  const YAML::Node& node = node_;
  YAML::Mark mark = node.IsDefined() ? node.Mark() : YAML::Mark();
  if (!key.empty() && node.IsDefined() && node[key].IsDefined()) mark = node[key].Mark();
  return ErrorAt(mark, key, message);
}

absl::StatusOr<std::string> YamlMap::Scalar(const YAML::Node& node, const std::string& key) const {
  if (!node.IsScalar()) return ErrorAt(node.Mark(), key, "must be a single value");
  return node.Scalar();
}

absl::Status YamlMap::Read(const std::string& key, std::string* value) {
  const YAML::Node node = Find(key);
  if (!node.IsDefined()) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(*value, Scalar(node, key));
  return absl::OkStatus();
}

absl::Status YamlMap::Read(const std::string& key, std::vector<std::string>* value) {
  const YAML::Node node = Find(key);
  if (!node.IsDefined()) return absl::OkStatus();
  if (!node.IsSequence()) return ErrorAt(node.Mark(), key, "must be a list");
  value->clear();
  for (const YAML::Node& item : node) {
    KVP_ASSIGN_OR_RETURN(std::string text, Scalar(item, key));
    value->push_back(std::move(text));
  }
  return absl::OkStatus();
}

absl::Status YamlMap::ReadBool(const std::string& key, bool* value) {
  const YAML::Node node = Find(key);
  if (!node.IsDefined()) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(const std::string text, Scalar(node, key));
  if (text != "true" && text != "false") return ErrorAt(node.Mark(), key, "must be true or false");
  *value = text == "true";
  return absl::OkStatus();
}

absl::Status YamlMap::ReadInt(const std::string& key, int min, int max, int* value) {
  const YAML::Node node = Find(key);
  if (!node.IsDefined()) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(const std::string text, Scalar(node, key));
  int number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end || number < min || number > max) {
    return ErrorAt(node.Mark(), key,
                   "\"" + text + "\" must be a whole number from " + std::to_string(min) + " to " +
                       std::to_string(max));
  }
  *value = number;
  return absl::OkStatus();
}

absl::Status YamlMap::ReadBytes(const std::string& key, uint64_t min, uint64_t* value) {
  const YAML::Node node = Find(key);
  if (!node.IsDefined()) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(const std::string text, Scalar(node, key));
  const absl::StatusOr<uint64_t> bytes = ParseByteSize(text);
  if (!bytes.ok()) return ErrorAt(node.Mark(), key, std::string(bytes.status().message()));
  if (*bytes < min) {
    return ErrorAt(node.Mark(), key,
                   "\"" + text + "\" must be at least " + std::to_string(min) + " bytes");
  }
  *value = *bytes;
  return absl::OkStatus();
}

absl::Status YamlMap::ReadDuration(const std::string& key, std::chrono::milliseconds min,
                                   std::chrono::milliseconds* value) {
  const YAML::Node node = Find(key);
  if (!node.IsDefined()) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(const std::string text, Scalar(node, key));
  const absl::StatusOr<std::chrono::milliseconds> duration = ParseDuration(text);
  if (!duration.ok()) return ErrorAt(node.Mark(), key, std::string(duration.status().message()));
  // The bound keeps sums with "now" far from overflow.
  if (*duration < min || *duration > std::chrono::hours(24 * 365)) {
    return ErrorAt(node.Mark(), key,
                   "\"" + text + "\" must be from " + std::to_string(min.count()) + "ms to 8760h");
  }
  *value = *duration;
  return absl::OkStatus();
}

absl::StatusOr<YamlMap> YamlMap::Map(const std::string& key) {
  return Create(Find(key), file_, Path(key));
}

absl::StatusOr<std::vector<YamlMap>> YamlMap::ListOfMaps(const std::string& key) {
  const YAML::Node node = Find(key);
  std::vector<YamlMap> maps;
  if (!node.IsDefined()) return maps;
  if (!node.IsSequence()) return ErrorAt(node.Mark(), key, "must be a list");
  for (const YAML::Node& item : node) {
    const std::string path = Path(key) + "[" + std::to_string(maps.size()) + "]";
    KVP_ASSIGN_OR_RETURN(YamlMap map, Create(item, file_, path));
    maps.push_back(std::move(map));
  }
  return maps;
}

absl::Status YamlMap::CheckNoOtherKeys() const {
  if (!node_.IsDefined()) return absl::OkStatus();
  for (const auto& entry : node_) {
    const std::string key = entry.first.Scalar();
    if (known_.contains(key)) continue;
    std::string allowed;
    for (const std::string& known : known_) allowed += (allowed.empty() ? "" : ", ") + known;
    return ErrorAt(entry.first.Mark(), key, "unknown key; known here: " + allowed);
  }
  return absl::OkStatus();
}

}  // namespace kvpareto::server
