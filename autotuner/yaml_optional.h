// Optional keys of YAML maps: what is not there keeps its default.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/policy/yaml_map.h"

namespace kvpareto::tune {

inline void Text(YamlMap& map, const std::string& key, std::string& value) {
  if (map.Has(key)) map.String(key, value);
}
inline void Number(YamlMap& map, const std::string& key, double min, double max, double& value) {
  if (map.Has(key)) map.Number(key, min, max, value);
}
template <typename Int>
inline void Whole(YamlMap& map, const std::string& key, int64_t min, int64_t max, Int& value) {
  if (!map.Has(key)) return;
  int64_t read = 0;
  map.Integer(key, min, max, read);
  value = static_cast<Int>(read);
}
inline void Texts(YamlMap& map, const std::string& key, std::vector<std::string>& values) {
  if (!map.Has(key)) return;
  map.Strings(key, values);
  if (values.empty()) map.Fail(key, "is empty");
}
inline void Wholes(YamlMap& map, const std::string& key, int64_t min, int64_t max,
                   std::vector<int64_t>& values) {
  if (!map.Has(key)) return;
  map.Integers(key, min, max, values);
  if (values.empty()) map.Fail(key, "is empty");
}
// One of `names`, in the order of the enumeration.
template <typename Enum, size_t N>
inline void OneOf(YamlMap& map, const std::string& key, const std::string_view (&names)[N],
                  Enum& value) {
  std::string text;
  map.String(key, text);
  std::string known;
  for (size_t i = 0; i < N; ++i) {
    if (text == names[i]) {
      value = static_cast<Enum>(i);
      return;
    }
    known += (known.empty() ? "" : ", ") + std::string(names[i]);
  }
  map.Fail(key, "'" + text + "' is none of " + known);
}

}  // namespace kvpareto::tune
