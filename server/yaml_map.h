// A YAML mapping that is read key by key; every error names file and line, and keys that nobody
// asked for are errors.
#pragma once

#include <yaml-cpp/yaml.h>

#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "server/status.h"

namespace kvpareto::server {

class YamlMap {
 public:
  // `node` is the mapping; `path` its place in the file, such as "limits", "" at the top.
  static absl::StatusOr<YamlMap> Create(YAML::Node node, std::string file, std::string path);
  // A whole file's text. Errors: INVALID_ARGUMENT (CONFIG_INVALID), also for broken YAML.
  static absl::StatusOr<YamlMap> Parse(const std::string& text, const std::string& file);

  bool Has(const std::string& key);
  // Each reads an optional key into `*value`, which is left alone when the key is absent.
  absl::Status Read(const std::string& key, std::string* value);
  absl::Status Read(const std::string& key, std::vector<std::string>* value);
  absl::Status ReadBool(const std::string& key, bool* value);
  absl::Status ReadInt(const std::string& key, int min, int max, int* value);
  absl::Status ReadBytes(const std::string& key, uint64_t min, uint64_t* value);
  absl::Status ReadDuration(const std::string& key, std::chrono::milliseconds min,
                            std::chrono::milliseconds* value);
  // A nested mapping; an absent key gives an empty one.
  absl::StatusOr<YamlMap> Map(const std::string& key);
  absl::StatusOr<std::vector<YamlMap>> ListOfMaps(const std::string& key);

  // The first key that was never read, as an error.
  absl::Status CheckNoOtherKeys() const;
  // CONFIG_INVALID "file:line: path.key: message"; key "" stands for the mapping itself.
  absl::Status Error(const std::string& key, const std::string& message) const;

 private:
  YamlMap(YAML::Node node, std::string file, std::string path)
      : node_(std::move(node)), file_(std::move(file)), path_(std::move(path)) {}
  YAML::Node Find(const std::string& key);
  absl::StatusOr<std::string> Scalar(const YAML::Node& node, const std::string& key) const;
  absl::Status CheckKeys() const;
  absl::Status ErrorAt(const YAML::Mark& mark, const std::string& key,
                       const std::string& message) const;
  std::string Path(const std::string& key) const;

  YAML::Node node_;  // a mapping, or undefined
  std::string file_;
  std::string path_;
  std::set<std::string> known_;
};

}  // namespace kvpareto::server
