// The configs that a search may try, as the cross product of what is named.
#pragma once

#include <string>
#include <vector>

#include "autotuner/config_list.h"

namespace kvpareto::tune {

// Every combination of its lists. Of codecs, either `pairs` or the four lists after it.
struct SpaceGrid {
  std::vector<std::string> pairs;  // "int4-channel/int4-token"
  std::vector<std::string> bits;   // "4/2"
  std::vector<std::string> k_granularity, v_granularity;
  std::vector<int64_t> group = {0};  // channels that share a scale, of `token`; 0: the head vector
  std::vector<std::string> transforms = {"none"};  // "krot=balanced vrot=balanced", or a preset
  std::vector<int64_t> sink = {16};
  std::vector<int64_t> recent = {0};
  std::vector<int64_t> chunk = {256};
  std::vector<std::string> layers = {"none"};  // per-layer maps, as in a config's `layers=`
};

// Which part of a comparison a config belongs to.
enum class ConfigGroup : uint8_t { kOurs, kPaper, kReference };
std::string_view ConfigGroupName(ConfigGroup group);

struct SpaceConfig {
  NamedConfig named;
  ConfigGroup group = ConfigGroup::kOurs;
};

struct SearchSpace {
  std::vector<SpaceGrid> grids;
  std::vector<SpaceConfig> configs;  // named by hand
};

// All configs of a space, each once (the first name wins), and a bf16 one of every chunk that
// occurs: what others are measured against. Errors: INVALID_ARGUMENT (KV_CONFIG_INVALID,
// SEARCH_SPACE_INVALID).
absl::StatusOr<std::vector<SpaceConfig>> ExpandSpace(const SearchSpace& space);

// "k4c-v4t-g32-balanced-r128-c256": bits and granularity of keys and values, transforms, windows,
// chunk. Two configs have one name only if they are equal but for per-layer maps, which it hashes.
std::string ShortName(const KvConfig& config);

// A config with each of its techniques alone taken away ("-recent", "-transforms", "-channel"),
// for tables of what each one contributes. Names what is in it: "recent", "sink", "rotation",
// "centring", "bias", "clip", "channel keys", "layers".
std::vector<std::string> TechniquesOf(const KvConfig& config);

}  // namespace kvpareto::tune
