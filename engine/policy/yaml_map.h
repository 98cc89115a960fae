// Strict reading of YAML maps: every key that is read must be there, be of the right kind and in
// range; keys that nobody asked for are errors. The first error wins; reads after it do nothing, so
// that callers check once at the end.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace kvpareto {

// Where the first error of one file goes.
struct YamlErrors {
  std::string file_name;
  std::string reason;  // of MakeError
  absl::Status first;

  // "file:line: path: message". Lines count from 1.
  void Fail(const YAML::Node& at, const std::string& path, const std::string& message);
};

// One map. `errors` outlives it. Not copied; ends with Finish().
class YamlMap {
 public:
  YamlMap(YAML::Node node, std::string path, YamlErrors* errors);

  // Whether the key is there: what is optional is asked for first.
  bool Has(const std::string& key);
  void String(const std::string& key, std::string& value);
  void Number(const std::string& key, double min, double max, double& value);
  void Integer(const std::string& key, int64_t min, int64_t max, int64_t& value);
  YamlMap Map(const std::string& key);
  std::vector<YamlMap> Maps(const std::string& key);  // a list of maps
  void Strings(const std::string& key, std::vector<std::string>& values);
  void Numbers(const std::string& key, double min, double max, std::vector<double>& values);
  void Integers(const std::string& key, int64_t min, int64_t max, std::vector<int64_t>& values);
  void Fail(const std::string& key, const std::string& message);
  std::string Where() const;  // "file:line", for errors that are found later
  // Refuses the keys that were not read.
  void Finish();

 private:
  YAML::Node Find(const std::string& key);  // fails and returns an undefined node if absent
  std::string Scalar(const std::string& key);
  std::vector<std::string> Scalars(const std::string& key);
  void ParseNumber(const std::string& key, const std::string& text, double min, double max,
                   double& value);
  void ParseInteger(const std::string& key, const std::string& text, int64_t min, int64_t max,
                    int64_t& value);
  std::string PathOf(const std::string& key) const;

  YAML::Node node_;
  std::string path_;
  YamlErrors* errors_;
  std::set<std::string> read_;
};

// Reads a whole file's text, whose top is a map. Errors: INVALID_ARGUMENT (errors.reason) of
// `read`, and for what is not YAML.
absl::Status ReadYaml(const std::string& text, YamlErrors& errors,
                      const std::function<void(YamlMap)>& read);

}  // namespace kvpareto
