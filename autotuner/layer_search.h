// Which layers need precise keys, which need precise values: KV configs with codecs per layer,
// found from the effect of each layer alone.
//
// After KVTuner (arXiv 2502.04420), which pairs precisions per layer offline, and greedy upgrades
// by gain per bit. Effects of layers are taken to add up, which they do about as long as they are
// small; what comes out is an estimate to be measured (`kvpareto-tune fidelity`).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autotuner/fidelity_list.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct LayerSearchOptions {
  KvConfig base;                      // windows, chunk and transforms; its codecs mean nothing
  std::vector<kv::CodecId> k_codecs;  // candidates, from the fewest bits up
  std::vector<kv::CodecId> v_codecs;
  std::vector<double> target_bits;  // effective bits per element not to be exceeded
  int64_t tokens = 8192;            // the length at which they are counted
  std::vector<int> escalated;       // layers whose keys and values start one candidate up

  // Errors: INVALID_ARGUMENT (LAYER_SEARCH_INVALID).
  absl::Status Validate(const ModelConfig& model) const;
};

// The config of `base` with bf16 codecs: what effects are measured against.
KvConfig LayerSearchReference(const KvConfig& base);

// One cache for every candidate of every layer and role, all else bf16. In the order [layer][K, V]
// [candidate]; named "layer 3 k int4-channel".
std::vector<MeasuredConfig> SensitivityConfigs(const LayerSearchOptions& options,
                                               const ModelConfig& model);

// One cache a layer that keeps its keys and values in int8, all else bf16: a change that loses next
// to nothing but moves roundings, which every layer above amplifies. What it costs any change of
// this layer costs, whatever the codec, and a cache that changes many layers pays it once, not once
// a layer. In bf16 arithmetic that is as much as 4 bits cost.
std::vector<MeasuredConfig> ControlConfigs(const LayerSearchOptions& options,
                                           const ModelConfig& model);

// `kl` of SensitivityConfigs without `control`, the mean KLs of ControlConfigs; at least 0.
std::vector<double> EffectsOf(const LayerSearchOptions& options, const std::vector<double>& kl,
                              const std::vector<double>& control);

// What each candidate in one layer, alone, adds to the mean KL; in the order of the candidates.
struct LayerEffects {
  std::vector<double> k, v;
};
// Of `effects` as EffectsOf has them, [layer].
std::vector<LayerEffects> EffectsByLayer(const LayerSearchOptions& options,
                                         const std::vector<double>& effects);

struct LayerMap {
  KvConfig config;
  double bits = 0.0;          // effective, at options.tokens
  double estimated_kl = 0.0;  // sum of the effects
  double target_bits = 0.0;
};

// `effects`: what SensitivityConfigs add to the mean KL, in their order. One map for each target
// that the cheapest candidates do not exceed already: from there (and the escalated layers), again
// and again the upgrade with the largest decrease of KL per bit among those that fit.
std::vector<LayerMap> SearchLayerMaps(const LayerSearchOptions& options, const ModelConfig& model,
                                      const std::vector<double>& effects);

// "PREFIX-3.90" by its target.
std::string MapName(const std::string& prefix, const LayerMap& map);

// Lines for ParseFidelityList, with the estimates in comments. Named by MapName.
std::string FormatLayerMaps(const std::vector<LayerMap>& maps, const std::string& prefix);

}  // namespace kvpareto::tune
