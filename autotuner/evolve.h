// Codecs per layer, found by evolution that begins with the maps of a layer search.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "autotuner/layer_search.h"
#include "autotuner/nsga2.h"
#include "autotuner/stop.h"
#include "autotuner/trial_bench.h"

namespace kvpareto::tune {

// Genes: the key codec of every layer, then the value codec of every layer.
KvConfig ConfigOfGenome(const EvolveOptions& options, const KvConfig& base, const Genome& genome);
Genome GenomeOfConfig(const EvolveOptions& options, const KvConfig& config, int layers);

// What the layer search is asked to do for the maps that evolution begins with.
LayerSearchOptions LayerSearchFor(const TuneSpec& spec, const KvConfig& base);

// What is told of every measurement: its tokens, and what it was of.
using EvolveProgress = std::function<void(int64_t tokens, const std::string& what)>;

struct EvolvedLayers {
  std::vector<LayerEffects> effects;  // [layer]
  std::vector<Trial> front;           // maps that no other of the last generation dominates, with
                                      // their gate measured
};

// Measures each layer's effect, then evolves maps that are good in bytes and divergence on the
// gate's text. Errors: CANCELLED (IsStop); of the bench and the layer search.
absl::StatusOr<EvolvedLayers> EvolveLayers(const TuneSpec& spec, TrialBench& bench,
                                           const StopCheck& stop, const EvolveProgress& progress);

// Runs of the model on `text_tokens` tokens that the layer search takes.
int64_t LayerSearchRuns(const TuneSpec& spec, const ModelConfig& model);

}  // namespace kvpareto::tune
