#include "autotuner/search_space.h"

#include <algorithm>
#include <functional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "autotuner/sha256.h"

namespace kvpareto::tune {
namespace {

absl::Status SpaceError(const std::string& what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "SEARCH_SPACE_INVALID", what);
}

// "int4-token-g32" from its bits, granularity and group.
std::string CodecName(const std::string& bits, const std::string& granularity, int64_t group) {
  const bool grouped = granularity == "token" && group > 0;
  return absl::StrCat("int", bits, "-", granularity, grouped ? absl::StrCat("-g", group) : "");
}

// More than anyone could measure; bounds what a file can ask for.
constexpr double kMaxConfigs = 100'000;

// How many combinations the grid has.
double CountOf(const SpaceGrid& grid) {
  const double pairs = grid.pairs.empty() ? 1.0 * grid.bits.size() * grid.k_granularity.size() *
                                                grid.v_granularity.size() * grid.group.size()
                                          : 1.0 * grid.pairs.size();
  return pairs * grid.transforms.size() * grid.layers.size() * grid.sink.size() *
         grid.recent.size() * grid.chunk.size();
}

// "K/V" codec names of a grid, from either form.
absl::StatusOr<std::vector<std::string>> PairsOf(const SpaceGrid& grid) {
  if (!grid.pairs.empty() && !grid.bits.empty()) {
    return SpaceError("a grid has either pairs or bits, not both");
  }
  if (!grid.pairs.empty()) return grid.pairs;
  if (grid.bits.empty() || grid.k_granularity.empty() || grid.v_granularity.empty()) {
    return SpaceError("a grid needs pairs, or bits with k_granularity and v_granularity");
  }
  std::vector<std::string> pairs;
  for (const std::string& bits : grid.bits) {
    const std::pair<std::string, std::string> kv = absl::StrSplit(bits, absl::MaxSplits('/', 1));
    for (const std::string& k : grid.k_granularity) {
      for (const std::string& v : grid.v_granularity) {
        for (int64_t group : grid.group) {
          pairs.push_back(CodecName(kv.first, k, group) + "/" + CodecName(kv.second, v, group));
        }
      }
    }
  }
  return pairs;
}

absl::StatusOr<KvConfig> ConfigOf(const std::string& pair, const std::string& words) {
  const std::pair<std::string, std::string> kv = absl::StrSplit(pair, absl::MaxSplits('/', 1));
  auto config = KvConfig::Parse("k=" + kv.first + " v=" + kv.second + words);
  return config.ok() ? config : Annotate(config.status(), pair + words);
}

// Calls fn(words after the codecs) for every combination of the grid's other lists.
absl::Status ForEachTail(const SpaceGrid& grid,
                         const std::function<absl::Status(const std::string&)>& fn) {
  for (const std::string& transforms : grid.transforms) {
    const std::string transform_words = transforms == "none" ? "" : " " + transforms;
    for (const std::string& layers : grid.layers) {
      const std::string layer_words = layers == "none" ? "" : " layers=" + layers;
      for (int64_t sink : grid.sink) {
        for (int64_t recent : grid.recent) {
          for (int64_t chunk : grid.chunk) {
            KVP_RETURN_IF_ERROR(fn(absl::StrCat(" sink=", sink, " recent=", recent,
                                                " chunk=", chunk, transform_words, layer_words)));
          }
        }
      }
    }
  }
  return absl::OkStatus();
}

// "4t32s": bits, granularity, group, smoothing.
std::string ShortCodec(kv::CodecId codec) {
  std::string name(kv::GetCodecInfo(codec).name);
  if (!name.starts_with("int")) return name;
  const std::vector<std::string> parts = absl::StrSplit(name.substr(3), '-');
  std::string text = parts[0] + (parts[1] == "tensor" ? "x" : parts[1].substr(0, 1));
  for (size_t i = 2; i < parts.size(); ++i) {
    text += parts[i] == "smooth" ? "s" : parts[i].substr(1);
  }
  return text;
}

std::string ShortTransforms(const kv::Transforms& t) {
  std::string text;
  if (t.k_rotation == t.v_rotation && t.k_rotation != kv::Rotation::kNone) {
    text += "-" + std::string(kv::RotationName(t.k_rotation));
  } else {
    if (t.k_rotation != kv::Rotation::kNone) {
      text += "-k." + std::string(kv::RotationName(t.k_rotation));
    }
    if (t.v_rotation != kv::Rotation::kNone) {
      text += "-v." + std::string(kv::RotationName(t.v_rotation));
    }
  }
  if (t.k_center) text += "-kc";
  if (t.v_center) text += "-vc";
  if (t.remove_key_bias) text += "-nb";
  const auto clip = [&text](const char* role, const kv::Clip& c) {
    if (c.calibrated) absl::StrAppend(&text, "-", role, "auto");
    if (!c.calibrated && c.ratio != 1.0f) absl::StrAppend(&text, "-", role, c.ratio);
  };
  clip("kclip", t.k_clip);
  clip("vclip", t.v_clip);
  return text;
}

std::string LayersText(const KvConfig& config) {
  const std::string text = config.ToString();
  const size_t at = text.find("layers=");
  return at == text.npos ? "" : text.substr(at);
}

}  // namespace

std::string_view ConfigGroupName(ConfigGroup group) {
  switch (group) {
    case ConfigGroup::kPaper:
      return "paper";
    case ConfigGroup::kReference:
      return "reference";
    case ConfigGroup::kOurs:
      break;
  }
  return "ours";
}

std::string ShortName(const KvConfig& config) {
  std::string name = config.is_bf16() ? "bf16"
                                      : absl::StrCat("k", ShortCodec(config.codecs.k), "-v",
                                                     ShortCodec(config.codecs.v));
  if (!config.is_bf16()) {
    absl::StrAppend(&name, ShortTransforms(config.transforms));
    if (config.sink_tokens != 16) absl::StrAppend(&name, "-s", config.sink_tokens);
    if (config.recent_tokens > 0) absl::StrAppend(&name, "-r", config.recent_tokens);
  }
  const std::string layers = LayersText(config);
  if (!layers.empty()) absl::StrAppend(&name, "-L", Sha256Hex(layers).substr(0, 6));
  return absl::StrCat(name, "-c", config.prefill_chunk_tokens);
}

std::vector<std::string> TechniquesOf(const KvConfig& config) {
  std::vector<std::string> techniques;
  const auto add = [&](bool is_there, const char* name) {
    if (is_there) techniques.push_back(name);
  };
  const kv::Transforms& t = config.transforms;
  if (!config.is_bf16()) {
    add(kv::GetCodecInfo(config.codecs.k).granularity == kv::Granularity::kPerChannel,
        "channel keys");
    add(config.sink_tokens > 0, "sink");
    add(config.recent_tokens > 0, "recent");
  }
  add(t.k_rotation != kv::Rotation::kNone || t.v_rotation != kv::Rotation::kNone, "rotation");
  add(t.k_center || t.v_center, "centring");
  add(t.remove_key_bias, "bias");
  add(t.k_clip != kv::Clip{} || t.v_clip != kv::Clip{}, "clip");
  add(!config.layer_overrides.empty(), "layers");
  return techniques;
}

absl::StatusOr<std::vector<SpaceConfig>> ExpandSpace(const SearchSpace& space) {
  std::vector<SpaceConfig> all = space.configs;
  std::set<std::string> known, names;
  std::set<int> chunks;
  for (const SpaceConfig& config : all) {
    known.insert(config.named.config.ToString());
    if (!names.insert(config.named.name).second) {
      return SpaceError("two configs are called " + config.named.name);
    }
  }
  const auto add = [&](const KvConfig& config, ConfigGroup group) -> absl::Status {
    if (!known.insert(config.ToString()).second) return absl::OkStatus();
    const std::string name = ShortName(config);
    if (!names.insert(name).second) return SpaceError("two configs are called " + name);
    all.push_back({.named = {name, config}, .group = group});
    return absl::OkStatus();
  };
  double count = static_cast<double>(all.size());
  for (const SpaceGrid& grid : space.grids) {
    count += CountOf(grid);
    if (count > kMaxConfigs) {
      return SpaceError(absl::StrCat("more than ", kMaxConfigs, " combinations"));
    }
    KVP_ASSIGN_OR_RETURN(const std::vector<std::string> pairs, PairsOf(grid));
    KVP_RETURN_IF_ERROR(ForEachTail(grid, [&](const std::string& words) -> absl::Status {
      for (const std::string& pair : pairs) {
        KVP_ASSIGN_OR_RETURN(const KvConfig config, ConfigOf(pair, words));
        KVP_RETURN_IF_ERROR(add(config, ConfigGroup::kOurs));
      }
      return absl::OkStatus();
    }));
  }
  for (const SpaceConfig& config : all) chunks.insert(config.named.config.prefill_chunk_tokens);
  for (int chunk : chunks) {
    KvConfig reference = KvConfig::Bf16(chunk);
    // With the sink of the others, a running request can go on as one of them.
    if (!space.grids.empty()) reference.sink_tokens = space.grids.front().sink.front();
    KVP_RETURN_IF_ERROR(add(reference, ConfigGroup::kReference));
  }
  for (SpaceConfig& config : all) {
    if (config.named.config.is_bf16()) config.group = ConfigGroup::kReference;
  }
  return all;
}

}  // namespace kvpareto::tune
