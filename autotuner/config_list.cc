#include "autotuner/config_list.h"

#include <algorithm>
#include <array>
#include <set>
#include <sstream>

namespace kvpareto::tune {
namespace {

struct CodecPair {
  const char* name;
  const char* k;
  const char* v;
  const char* transforms;
};

constexpr char kBalanced[] = " krot=balanced vrot=balanced kcenter=static kbias=remove";
constexpr char kBalancedClipped[] =
    " krot=balanced vrot=balanced kcenter=static kbias=remove kclip=0.9 vclip=0.9";

// From the highest precision down. Keys per channel over a sealed block are the best 4-bit axis,
// values per token; the rest is there to be dominated or to show where the frontier ends. Those
// with transforms need a calibration, and dominate the others of their width where there is one.
constexpr std::array kPairs = {
    CodecPair{"k8t-v8t", "int8-token", "int8-token", ""},
    CodecPair{"k8t-v8t-unbiased", "int8-token", "int8-token", " kcenter=static kbias=remove"},
    CodecPair{"k8c-v8t", "int8-channel", "int8-token", ""},
    CodecPair{"k6c-v6t", "int6-channel", "int6-token", ""},
    CodecPair{"k8c-v4t32", "int8-channel", "int4-token-g32", ""},
    CodecPair{"k4c-v4t32", "int4-channel", "int4-token-g32", ""},
    CodecPair{"k4c-v4t", "int4-channel", "int4-token", ""},
    CodecPair{"k4c-v4t-balanced", "int4-channel", "int4-token", kBalanced},
    CodecPair{"k4t64-v4t64", "int4-token-g64", "int4-token-g64", ""},
    CodecPair{"k3c-v3t", "int3-channel", "int3-token", ""},
    CodecPair{"k3c-v3t-balanced", "int3-channel", "int3-token", kBalanced},
    CodecPair{"k4c-v2t32", "int4-channel", "int2-token-g32", ""},
    CodecPair{"k2c-v2t32", "int2-channel", "int2-token-g32", ""},
    CodecPair{"k2c-v2t-balanced", "int2-channel", "int2-token", kBalancedClipped},
};

absl::Status LineError(int line, const std::string& what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CONFIG_LIST_INVALID",
                   "line " + std::to_string(line) + ": " + what, {{"line", std::to_string(line)}});
}

}  // namespace

absl::StatusOr<std::vector<NamedConfig>> BuiltInConfigs(const ConfigGrid& grid) {
  std::vector<NamedConfig> configs;
  for (int chunk : grid.chunk_tokens) {
    const std::string suffix = "-c" + std::to_string(chunk);
    KvConfig reference = KvConfig::Bf16(chunk);
    reference.sink_tokens = 16;  // as all others: a running request can go on as one of them
    configs.push_back({"bf16" + suffix, reference});
    for (int recent : grid.recent_tokens) {
      for (const CodecPair& pair : kPairs) {
        std::ostringstream text;
        text << "k=" << pair.k << " v=" << pair.v << " sink=16 recent=" << recent
             << " chunk=" << chunk << pair.transforms;
        KVP_ASSIGN_OR_RETURN(KvConfig config, KvConfig::Parse(text.str()));
        const std::string window = recent > 0 ? "-r" + std::to_string(recent) : "";
        configs.push_back({pair.name + window + suffix, std::move(config)});
      }
    }
  }
  return configs;
}

absl::StatusOr<std::vector<NamedConfig>> ParseConfigList(std::string_view text) {
  std::vector<NamedConfig> configs;
  std::set<std::string> names;
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line);
    std::string name, config_text;
    if (!(words >> name) || name[0] == '#') continue;
    std::getline(words >> std::ws, config_text);
    if (config_text.empty()) return LineError(number, "expected \"NAME CONFIG\"");
    if (!names.insert(name).second) return LineError(number, "the name " + name + " is taken");
    auto config = KvConfig::Parse(config_text);
    if (!config.ok()) return Annotate(config.status(), "line " + std::to_string(number));
    configs.push_back({name, *std::move(config)});
  }
  if (configs.empty()) return LineError(1, "no configs");
  return configs;
}

std::vector<NamedConfig> ForModel(const std::vector<NamedConfig>& configs, const ModelConfig& model,
                                  const Calibration* calibration,
                                  std::vector<std::string>* dropped) {
  std::vector<NamedConfig> usable;
  for (const NamedConfig& named : configs) {
    const TransformSpec spec = {.transforms = named.config.transforms,
                                .codecs = named.config.PerLayer(model.layers)};
    if (named.config.ValidateFor(model).ok() && CheckCalibrated(spec, calibration).ok()) {
      usable.push_back(named);
    } else {
      dropped->push_back(named.name);
    }
  }
  const bool has_bf16 = std::any_of(usable.begin(), usable.end(), [](const NamedConfig& named) {
    return named.config.is_bf16();
  });
  if (!has_bf16) {
    const int chunk = usable.empty() ? 256 : usable.front().config.prefill_chunk_tokens;
    usable.insert(usable.begin(), {"bf16", KvConfig::Bf16(chunk)});
  }
  return usable;
}

}  // namespace kvpareto::tune
