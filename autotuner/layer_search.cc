#include "autotuner/layer_search.h"

#include <algorithm>
#include <map>
#include <optional>

#include "absl/strings/str_format.h"

namespace kvpareto::tune {
namespace {

absl::Status Invalid(const std::string& what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "LAYER_SEARCH_INVALID", what);
}

std::string Name(kv::CodecId codec) { return std::string(kv::GetCodecInfo(codec).name); }

// Keys or values of one layer: candidates with their bits and effects, and the one that is chosen.
struct Place {
  kv::Role role;
  int layer = 0;
  const std::vector<kv::CodecId>* codecs = nullptr;
  std::vector<double> bits, kl;  // [candidates]
  size_t chosen = 0;
};

// The same for all layers but where they differ: the most frequent pair stands in `codecs`.
KvConfig ConfigOf(const KvConfig& base, const std::vector<Place>& places) {
  std::vector<kv::LayerCodecs> layers(places.size() / 2);
  for (const Place& place : places) {
    kv::LayerCodecs& layer = layers[place.layer];
    (place.role == kv::Role::kKey ? layer.k : layer.v) = (*place.codecs)[place.chosen];
  }
  std::map<std::pair<kv::CodecId, kv::CodecId>, int> counts;
  for (const kv::LayerCodecs& layer : layers) ++counts[{layer.k, layer.v}];
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  KvConfig config = base;
  config.codecs = {.k = most->first.first, .v = most->first.second};
  config.layer_overrides.clear();
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!(layers[i] == config.codecs)) config.layer_overrides[static_cast<int>(i)] = layers[i];
  }
  return config;
}

class Search {
 public:
  Search(const LayerSearchOptions& options, const ModelConfig& model, const std::vector<double>& kl)
      : options_(options), model_(model) {
    size_t next = 0;
    for (int layer = 0; layer < model.layers; ++layer) {
      for (const kv::Role role : {kv::Role::kKey, kv::Role::kValue}) {
        Place place{.role = role, .layer = layer};
        place.codecs = role == kv::Role::kKey ? &options.k_codecs : &options.v_codecs;
        for (const kv::CodecId codec : *place.codecs) {
          place.bits.push_back(kv::BitsPerElement(codec, role, model.head_dim));
          place.kl.push_back(kl[next++]);
        }
        cheapest_.push_back(std::move(place));
      }
    }
  }

  std::optional<LayerMap> Find(double target) const {
    std::vector<Place> places = cheapest_;
    if (Bits(places) > target) return std::nullopt;
    for (Place& place : places) {
      if (std::count(options_.escalated.begin(), options_.escalated.end(), place.layer) == 0) {
        continue;
      }
      place.chosen = std::min<size_t>(1, place.codecs->size() - 1);
      if (Bits(places) > target) place.chosen = 0;
    }
    while (Upgrade(places, target)) {
    }
    LayerMap map{
        .config = ConfigOf(options_.base, places), .bits = Bits(places), .target_bits = target};
    for (const Place& place : places) map.estimated_kl += place.kl[place.chosen];
    return map;
  }

 private:
  double Bits(const std::vector<Place>& places) const {
    return EffectiveBits(ConfigOf(options_.base, places), model_, options_.tokens);
  }

  // Takes the best upgrade that fits; false when none that helps does.
  bool Upgrade(std::vector<Place>& places, double target) const {
    struct Candidate {
      double gain;  // KL per bit
      size_t place, choice;
    };
    std::vector<Candidate> candidates;
    for (size_t p = 0; p < places.size(); ++p) {
      const Place& place = places[p];
      for (size_t c = place.chosen + 1; c < place.codecs->size(); ++c) {
        const double gain =
            (place.kl[place.chosen] - place.kl[c]) / (place.bits[c] - place.bits[place.chosen]);
        if (gain > 0.0) candidates.push_back({gain, p, c});
      }
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.gain > b.gain; });
    for (const Candidate& candidate : candidates) {
      Place& place = places[candidate.place];
      const size_t before = std::exchange(place.chosen, candidate.choice);
      if (Bits(places) <= target) return true;
      place.chosen = before;
    }
    return false;
  }

  const LayerSearchOptions& options_;
  const ModelConfig& model_;
  std::vector<Place> cheapest_;  // [layer][K, V]
};

absl::Status CheckCandidates(const std::vector<kv::CodecId>& codecs, kv::Role role, int head_dim) {
  if (codecs.empty()) return Invalid("there are no candidates");
  for (size_t i = 0; i < codecs.size(); ++i) {
    if (!kv::CodecSupports(codecs[i], head_dim)) {
      return Invalid(Name(codecs[i]) + " cannot store heads of " + std::to_string(head_dim));
    }
    if (i > 0 && kv::BitsPerElement(codecs[i], role, head_dim) <=
                     kv::BitsPerElement(codecs[i - 1], role, head_dim)) {
      return Invalid(Name(codecs[i]) + " stores no more bits than " + Name(codecs[i - 1]) +
                     ", which stands before it");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LayerSearchOptions::Validate(const ModelConfig& model) const {
  KVP_RETURN_IF_ERROR(CheckCandidates(k_codecs, kv::Role::kKey, model.head_dim));
  KVP_RETURN_IF_ERROR(CheckCandidates(v_codecs, kv::Role::kValue, model.head_dim));
  if (target_bits.empty()) return Invalid("there are no targets");
  if (tokens < 1) return Invalid("bits are counted at less than one token");
  return absl::OkStatus();
}

KvConfig LayerSearchReference(const KvConfig& base) {
  KvConfig config = base;
  config.codecs = {};
  config.layer_overrides.clear();
  return config;
}

std::vector<MeasuredConfig> SensitivityConfigs(const LayerSearchOptions& options,
                                               const ModelConfig& model) {
  const KvConfig reference = LayerSearchReference(options.base);
  std::vector<MeasuredConfig> configs;
  for (int layer = 0; layer < model.layers; ++layer) {
    const auto add = [&](const char* role, kv::CodecId codec, kv::LayerCodecs codecs) {
      MeasuredConfig measured{.name = absl::StrFormat("layer %d %s %s", layer, role, Name(codec)),
                              .config = reference};
      // A candidate bf16 is the reference itself, which need not be measured for every layer.
      if (!(codecs == reference.codecs)) measured.config.layer_overrides[layer] = codecs;
      configs.push_back(std::move(measured));
    };
    for (const kv::CodecId codec : options.k_codecs) add("k", codec, {.k = codec});
    for (const kv::CodecId codec : options.v_codecs) add("v", codec, {.v = codec});
  }
  return configs;
}

std::vector<MeasuredConfig> ControlConfigs(const LayerSearchOptions& options,
                                           const ModelConfig& model) {
  const kv::LayerCodecs control = {.k = *kv::FindCodec("int8-channel"),
                                   .v = *kv::FindCodec("int8-token")};
  std::vector<MeasuredConfig> configs;
  for (int layer = 0; layer < model.layers; ++layer) {
    MeasuredConfig measured{.name = absl::StrFormat("layer %d control", layer),
                            .config = LayerSearchReference(options.base)};
    measured.config.layer_overrides[layer] = control;
    configs.push_back(std::move(measured));
  }
  return configs;
}

std::vector<double> EffectsOf(const LayerSearchOptions& options, const std::vector<double>& kl,
                              const std::vector<double>& control) {
  const size_t per_layer = options.k_codecs.size() + options.v_codecs.size();
  std::vector<double> effects;
  for (size_t i = 0; i < kl.size(); ++i) {
    effects.push_back(std::max(0.0, kl[i] - control[i / per_layer]));
  }
  return effects;
}

std::vector<LayerEffects> EffectsByLayer(const LayerSearchOptions& options,
                                         const std::vector<double>& effects) {
  std::vector<LayerEffects> layers;
  for (auto next = effects.begin(); next != effects.end();) {
    LayerEffects& layer = layers.emplace_back();
    layer.k.assign(next, next + std::ssize(options.k_codecs));
    next += std::ssize(options.k_codecs);
    layer.v.assign(next, next + std::ssize(options.v_codecs));
    next += std::ssize(options.v_codecs);
  }
  return layers;
}

std::vector<LayerMap> SearchLayerMaps(const LayerSearchOptions& options, const ModelConfig& model,
                                      const std::vector<double>& effects) {
  const Search search(options, model, effects);
  std::vector<LayerMap> maps;
  for (const double target : options.target_bits) {
    if (auto map = search.Find(target)) maps.push_back(*std::move(map));
  }
  return maps;
}

std::string MapName(const std::string& prefix, const LayerMap& map) {
  return absl::StrFormat("%s-%.2f", prefix, map.target_bits);
}

std::string FormatLayerMaps(const std::vector<LayerMap>& maps, const std::string& prefix) {
  std::string text;
  for (const LayerMap& map : maps) {
    absl::StrAppendFormat(
        &text, "# %.3f bits per element; the layers' effects alone add up to a mean KL of %.3g\n",
        map.bits, map.estimated_kl);
    text += MapName(prefix, map) + " " + map.config.ToString() + "\n";
  }
  return text;
}

}  // namespace kvpareto::tune
