#include "autotuner/evolve.h"

#include <algorithm>
#include <iterator>

#include "autotuner/fidelity_run.h"

namespace kvpareto::tune {
namespace {

// Cut from the windows that accuracy is measured on; a quarter of each stays uncounted, so that
// there are sealed blocks to read.
std::vector<TokenizedText> TextsFor(const TuneSpec& spec, const TrialBench& bench) {
  std::vector<TokenizedText> texts;
  for (size_t w = 0; w < std::min<size_t>(2, bench.windows().size()); ++w) {
    const auto& window = bench.windows()[w];
    const auto tokens = std::min<size_t>(spec.evolve.text_tokens, window.size());
    texts.push_back({"window " + std::to_string(w), {window.begin(), window.begin() + tokens}});
  }
  return texts;
}

absl::StatusOr<std::vector<double>> MeanKls(const TuneSpec& spec, TrialBench& bench,
                                            const KvConfig& reference,
                                            const std::vector<MeasuredConfig>& configs) {
  const FidelityOptions options{.first = spec.evolve.text_tokens / 4,
                                .stride = 3,
                                .reference = reference,
                                .prefill_arithmetic = true,
                                .calibration_digest = bench.calibration_digest()};
  KVP_ASSIGN_OR_RETURN(const auto results, MeasureFidelity(bench.engine(), TextsFor(spec, bench),
                                                           configs, options, bench.journal()));
  std::vector<double> kl;
  for (const ConfigFidelity& result : results) kl.push_back(MeanKl(result));
  return kl;
}

// EffectsOf each layer alone.
absl::StatusOr<std::vector<double>> MeasureEffects(const TuneSpec& spec, TrialBench& bench,
                                                   const LayerSearchOptions& search,
                                                   const StopCheck& stop) {
  const EvolveOptions& options = spec.evolve;
  const ModelConfig& model = bench.model();
  KVP_RETURN_IF_ERROR(search.Validate(model));
  const KvConfig reference = LayerSearchReference(search.base);
  KVP_ASSIGN_OR_RETURN(const std::vector<double> control,
                       MeanKls(spec, bench, reference, ControlConfigs(search, model)));
  // A layer at a time, so that a stop is heard.
  const std::vector<MeasuredConfig> all = SensitivityConfigs(search, model);
  const size_t per_layer = options.k_codecs.size() + options.v_codecs.size();
  std::vector<double> kl;
  for (size_t i = 0; i < all.size(); i += per_layer) {
    KVP_RETURN_IF_ERROR(stop.Check());
    const std::vector<MeasuredConfig> layer(all.begin() + i, all.begin() + i + per_layer);
    KVP_ASSIGN_OR_RETURN(const std::vector<double> found, MeanKls(spec, bench, reference, layer));
    kl.insert(kl.end(), found.begin(), found.end());
  }
  return EffectsOf(search, kl, control);
}

// The maps of the layer search, and the same candidate in every layer.
std::vector<Genome> Seeds(const EvolveOptions& options, const ModelConfig& model,
                          const LayerSearchOptions& search, const std::vector<double>& effects) {
  std::vector<Genome> seeds;
  for (const LayerMap& map : SearchLayerMaps(search, model, effects)) {
    seeds.push_back(GenomeOfConfig(options, map.config, model.layers));
  }
  const size_t most = std::max(options.k_codecs.size(), options.v_codecs.size());
  for (size_t i = 0; i < most; ++i) {
    Genome uniform(model.layers, std::min(i, options.k_codecs.size() - 1));
    uniform.insert(uniform.end(), model.layers, std::min(i, options.v_codecs.size() - 1));
    seeds.push_back(std::move(uniform));
  }
  return seeds;
}

class Evolution {
 public:
  Evolution(const TuneSpec& spec, TrialBench& bench, const KvConfig& base, const StopCheck& stop,
            const EvolveProgress& progress)
      : spec_(spec), bench_(bench), base_(base), stop_(stop), progress_(progress) {}

  absl::StatusOr<std::vector<Trial>> Run(const std::vector<Genome>& seeds) {
    const size_t layers = bench_.engine().model().config.layers;
    std::vector<int> choices(layers, static_cast<int>(spec_.evolve.k_codecs.size()));
    choices.insert(choices.end(), layers, static_cast<int>(spec_.evolve.v_codecs.size()));
    Nsga2 nsga2(choices, spec_.seed);
    const size_t population = spec_.evolve.population;
    KVP_ASSIGN_OR_RETURN(std::vector<Individual> alive,
                         Evaluate(nsga2.Begin(seeds, population), "begin"));
    for (int g = 1; g <= spec_.evolve.generations; ++g) {
      KVP_ASSIGN_OR_RETURN(
          const std::vector<Individual> children,
          Evaluate(nsga2.Offspring(alive, population), "generation " + std::to_string(g)));
      alive.insert(alive.end(), children.begin(), children.end());
      alive = Nsga2::Survivors(std::move(alive), population);
    }
    return FrontOf(alive);
  }

 private:
  absl::StatusOr<std::vector<Individual>> Evaluate(const std::vector<Genome>& genomes,
                                                   const std::string& what) {
    const int64_t tokens = spec_.text.accuracy.contexts.back();
    std::vector<Individual> individuals;
    for (const Genome& genome : genomes) {
      KVP_RETURN_IF_ERROR(stop_.Check());
      const KvConfig config = ConfigOfGenome(spec_.evolve, base_, genome);
      KVP_ASSIGN_OR_RETURN(const auto buckets, bench_.Gate({ShortName(config), config}));
      const double bits = EffectiveBits(config, bench_.engine().model().config, tokens);
      individuals.push_back({genome, {bits, buckets.back().kl_mean}});
      progress_(bench_.gate_work(), what);
    }
    return individuals;
  }

  absl::StatusOr<std::vector<Trial>> FrontOf(const std::vector<Individual>& alive) {
    std::vector<Costs> costs;
    for (const Individual& individual : alive) costs.push_back(individual.costs);
    const std::vector<int> ranks = NonDominatedRanks(costs);
    std::vector<Trial> trials;
    for (size_t i = 0; i < alive.size(); ++i) {
      if (ranks[i] != 0) continue;
      const KvConfig config = ConfigOfGenome(spec_.evolve, base_, alive[i].genome);
      Trial trial{.config = {.named = {ShortName(config), config}}, .stage = TrialStage::kGate};
      KVP_ASSIGN_OR_RETURN(trial.gate, bench_.Gate(trial.config.named));
      trials.push_back(std::move(trial));
    }
    return trials;
  }

  const TuneSpec& spec_;
  TrialBench& bench_;
  const KvConfig& base_;
  const StopCheck& stop_;
  const EvolveProgress& progress_;
};

}  // namespace

KvConfig ConfigOfGenome(const EvolveOptions& options, const KvConfig& base, const Genome& genome) {
  const int layers = static_cast<int>(genome.size() / 2);
  std::vector<kv::LayerCodecs> codecs;
  std::map<std::pair<int, int>, int> counts;
  for (int layer = 0; layer < layers; ++layer) {
    codecs.push_back(
        {.k = options.k_codecs[genome[layer]], .v = options.v_codecs[genome[layers + layer]]});
    ++counts[{genome[layer], genome[layers + layer]}];
  }
  // The most frequent pair is the config's own, the others are overrides.
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  KvConfig config = base;
  config.codecs = {.k = options.k_codecs[most->first.first],
                   .v = options.v_codecs[most->first.second]};
  config.layer_overrides.clear();
  for (int layer = 0; layer < layers; ++layer) {
    if (codecs[layer] != config.codecs) config.layer_overrides[layer] = codecs[layer];
  }
  return config;
}

Genome GenomeOfConfig(const EvolveOptions& options, const KvConfig& config, int layers) {
  const auto index = [](const std::vector<kv::CodecId>& codecs, kv::CodecId codec) {
    return static_cast<uint8_t>(
        std::distance(codecs.begin(), std::find(codecs.begin(), codecs.end(), codec)));
  };
  Genome keys, values;
  for (const kv::LayerCodecs& codecs : config.PerLayer(layers)) {
    keys.push_back(index(options.k_codecs, codecs.k));
    values.push_back(index(options.v_codecs, codecs.v));
  }
  keys.insert(keys.end(), values.begin(), values.end());
  return keys;
}

LayerSearchOptions LayerSearchFor(const TuneSpec& spec, const KvConfig& base) {
  return {.base = base,
          .k_codecs = spec.evolve.k_codecs,
          .v_codecs = spec.evolve.v_codecs,
          .target_bits = spec.evolve.seed_bits,
          .tokens = spec.text.accuracy.contexts.back(),
          .escalated = {}};
}

int64_t LayerSearchRuns(const TuneSpec& spec, const ModelConfig& model) {
  const int64_t candidates =
      std::ssize(spec.evolve.k_codecs) + std::ssize(spec.evolve.v_codecs) + 1;
  return 2 * model.layers * candidates;
}

absl::StatusOr<EvolvedLayers> EvolveLayers(const TuneSpec& spec, TrialBench& bench,
                                           const StopCheck& stop, const EvolveProgress& progress) {
  KVP_ASSIGN_OR_RETURN(const KvConfig base, KvConfig::Parse(spec.evolve.base));
  const LayerSearchOptions search = LayerSearchFor(spec, base);
  KVP_ASSIGN_OR_RETURN(const std::vector<double> effects,
                       MeasureEffects(spec, bench, search, stop));
  EvolvedLayers evolved{.effects = EffectsByLayer(search, effects)};
  const std::vector<Genome> seeds = Seeds(spec.evolve, bench.model(), search, effects);
  KVP_ASSIGN_OR_RETURN(evolved.front, Evolution(spec, bench, base, stop, progress).Run(seeds));
  return evolved;
}

}  // namespace kvpareto::tune
