#include "autotuner/tune_spec.h"

#include <filesystem>
#include <limits>
#include <set>
#include <utility>

#include "autotuner/task_yaml.h"
#include "autotuner/text_file.h"
#include "autotuner/yaml_optional.h"

namespace kvpareto::tune {
namespace {

constexpr int64_t kMaxInteger = std::numeric_limits<int64_t>::max();
constexpr int64_t kMaxTokens = int64_t{1} << 24;
constexpr int64_t kMaxCount = 1'000'000;

constexpr std::string_view kWeightsKinds[] = {"as-is", "bf16", "awq4"};
constexpr std::string_view kModes[] = {"brute", "quick", "evolve"};
constexpr std::string_view kGroups[] = {"ours", "paper"};

// Reads one file; the folder is where relative paths begin.
class Reader {
 public:
  Reader(std::filesystem::path folder, TuneSpec& spec) : folder_(std::move(folder)), spec_(spec) {}

  void ReadTop(YamlMap map) {
    int64_t version = 0;
    map.Integer("schema_version", 1, kMaxInteger, version);
    if (version != TuneSpec::kSchemaVersion) {
      map.Fail("schema_version", "this build reads " + std::to_string(TuneSpec::kSchemaVersion));
    }
    Whole(map, "seed", 0, kMaxInteger, spec_.seed);
    Text(map, "device", spec_.device);
    Whole(map, "threads", 0, 4096, spec_.threads);
    int64_t capacity_mib = static_cast<int64_t>(spec_.kv_capacity_bytes >> 20);
    Whole(map, "kv_capacity_mib", 1, int64_t{1} << 24, capacity_mib);
    spec_.kv_capacity_bytes = static_cast<uint64_t>(capacity_mib) << 20;
    Whole(map, "time_budget_seconds", 0, kMaxInteger, spec_.time_budget_seconds);
    map.String("out", spec_.out);
    Resolve(spec_.out);
    ReadModels(map);
    ReadText(map.Map("text"));
    if (map.Has("calibration")) ReadCalibration(map.Map("calibration"));
    ReadSpeed(map);
    ReadSpace(map.Map("space"));
    Wholes(map, "memory_tokens", 1, kMaxTokens, spec_.memory_tokens);
    if (map.Has("constraints")) ReadConstraints(map.Map("constraints"));
    if (map.Has("tasks")) spec_.tasks = ReadTaskSpecs(map, folder_);
    ReadSearch(map.Map("search"));
    map.Finish();
  }

 private:
  void Resolve(std::string& path) const {
    if (!path.empty()) path = (folder_ / path).lexically_normal().string();
  }
  void ReadFiles(YamlMap& map, std::vector<std::string>& files) const {
    map.Strings("files", files);
    if (files.empty()) map.Fail("files", "is empty");
    for (std::string& file : files) Resolve(file);
  }

  void ReadModels(YamlMap& map) {
    std::set<std::string> names;
    for (YamlMap& entry : map.Maps("models")) {
      ModelSpec& model = spec_.models.emplace_back();
      entry.String("name", model.name);
      if (model.name.empty() || model.name.find('/') != model.name.npos) {
        entry.Fail("name", "is part of file names: not empty, without '/'");
      }
      if (!names.insert(model.name).second) entry.Fail("name", "is taken");
      Whole(entry, "parameters", 1, kMaxInteger, model.parameters);
      Text(entry, "calibration", model.calibration);
      Resolve(model.calibration);
      for (YamlMap& weights : entry.Maps("weights")) ReadWeights(weights, model);
      if (model.weights.empty()) entry.Fail("weights", "is empty");
      entry.Finish();
    }
    if (spec_.models.empty()) map.Fail("models", "is empty");
  }

  void ReadWeights(YamlMap& map, ModelSpec& model) const {
    WeightsSpec& weights = model.weights.emplace_back();
    OneOf(map, "kind", kWeightsKinds, weights.kind);
    map.String("path", weights.path);
    Resolve(weights.path);
    if (weights.kind == WeightsKind::kAwq4) {
      Text(map, "from", weights.from);
      Resolve(weights.from);
      Whole(map, "group", 32, 128, weights.group);
    }
    for (size_t i = 0; i + 1 < model.weights.size(); ++i) {
      if (model.weights[i].kind == weights.kind) map.Fail("kind", "stands there twice");
    }
    map.Finish();
  }

  void ReadText(YamlMap map) {
    TextSpec& text = spec_.text;
    ReadFiles(map, text.files);
    const std::vector<int64_t> default_contexts = {1024, 4096};
    text.accuracy.contexts = default_contexts;
    text.accuracy.decode_tokens = 128;
    Wholes(map, "contexts", 2, kMaxTokens, text.accuracy.contexts);
    // Refused already, but what is read next looks at the longest.
    if (text.accuracy.contexts.empty()) text.accuracy.contexts = default_contexts;
    for (size_t i = 1; i < text.accuracy.contexts.size(); ++i) {
      if (text.accuracy.contexts[i] <= text.accuracy.contexts[i - 1]) {
        map.Fail("contexts", "must ascend");
      }
    }
    Whole(map, "windows", 1, kMaxCount, text.windows);
    Whole(map, "decode_tokens", 0, kMaxTokens, text.accuracy.decode_tokens);
    int64_t reference_mib = static_cast<int64_t>(text.accuracy.reference_bytes >> 20);
    Whole(map, "reference_mib", 1, int64_t{1} << 24, reference_mib);
    text.accuracy.reference_bytes = static_cast<uint64_t>(reference_mib) << 20;
    map.Finish();
  }

  void ReadCalibration(YamlMap map) {
    ReadFiles(map, spec_.calibration.files);
    Whole(map, "tokens", 64, kMaxTokens, spec_.calibration.tokens);
    map.Finish();
  }

  void ReadSpeed(YamlMap& top) {
    const int64_t longest = spec_.text.accuracy.contexts.back();
    spec_.speed.context_tokens = std::min<int64_t>(spec_.speed.context_tokens, longest);
    if (!top.Has("speed")) return;
    YamlMap map = top.Map("speed");
    Whole(map, "context_tokens", 1, longest, spec_.speed.context_tokens);
    Whole(map, "decode_tokens", 1, kMaxTokens, spec_.speed.decode_tokens);
    Whole(map, "repeats", 1, kMaxCount, spec_.speed.repeats);
    map.Finish();
  }

  void ReadGrid(YamlMap& map) {
    SpaceGrid& grid = spec_.space.grids.emplace_back();
    Texts(map, "pairs", grid.pairs);
    Texts(map, "bits", grid.bits);
    Texts(map, "k_granularity", grid.k_granularity);
    Texts(map, "v_granularity", grid.v_granularity);
    Wholes(map, "group", 0, 1024, grid.group);
    Texts(map, "transforms", grid.transforms);
    Wholes(map, "sink", 0, kMaxTokens, grid.sink);
    Wholes(map, "recent", 0, kMaxTokens, grid.recent);
    Wholes(map, "chunk", 1, kMaxTokens, grid.chunk);
    Texts(map, "layers", grid.layers);
    map.Finish();
    SearchSpace alone{.grids = {grid}, .configs = {}};
    if (const auto expanded = ExpandSpace(alone); !expanded.ok()) {
      map.Fail("", std::string(expanded.status().message()));
    }
  }

  void ReadConfig(YamlMap& map) {
    SpaceConfig config;
    map.String("name", config.named.name);
    if (map.Has("group")) OneOf(map, "group", kGroups, config.group);
    std::string text;
    map.String("config", text);
    if (auto parsed = KvConfig::Parse(text); parsed.ok()) {
      config.named.config = *std::move(parsed);
    } else {
      map.Fail("config", std::string(parsed.status().message()));
    }
    map.Finish();
    spec_.space.configs.push_back(std::move(config));
  }

  void ReadSpace(YamlMap map) {
    if (map.Has("grids")) {
      for (YamlMap& grid : map.Maps("grids")) ReadGrid(grid);
    }
    if (map.Has("configs")) {
      for (YamlMap& config : map.Maps("configs")) ReadConfig(config);
    }
    map.Finish();
    if (const auto all = ExpandSpace(spec_.space); !all.ok()) {
      map.Fail("", std::string(all.status().message()));
    } else if (all->empty()) {
      map.Fail("", "has no config");
    }
  }

  void ReadConstraints(YamlMap map) {
    Constraints& constraints = spec_.constraints;
    Number(map, "min_accuracy", 0.0, 1.0, constraints.min_accuracy);
    Whole(map, "max_kv_bytes", 0, kMaxInteger, constraints.max_kv_bytes);
    Whole(map, "kv_tokens", 1, kMaxTokens, constraints.kv_tokens);
    Number(map, "max_decode_ms", 0.0, 1e9, constraints.max_decode_ms);
    map.Finish();
  }

  void ReadSearch(YamlMap map) {
    OneOf(map, "mode", kModes, spec_.mode);
    Number(map, "keep", 0.01, 1.0, spec_.quick.keep);
    Whole(map, "gate_context", 2, spec_.text.accuracy.contexts.back(), spec_.quick.gate_context);
    Whole(map, "finalists", 1, kMaxCount, spec_.quick.finalists);
    if (spec_.mode == SearchMode::kEvolve) ReadEvolve(map.Map("evolve"));
    map.Finish();
  }

  void ReadCodecs(YamlMap& map, const std::string& key, std::vector<kv::CodecId>& codecs) {
    std::vector<std::string> names;
    map.Strings(key, names);
    for (const std::string& name : names) {
      if (const auto codec = kv::FindCodec(name)) {
        codecs.push_back(*codec);
      } else {
        map.Fail(key, "there is no codec '" + name + "'");
      }
    }
    if (codecs.size() < 2) map.Fail(key, "needs at least two codecs, from the fewest bits up");
  }

  void ReadEvolve(YamlMap map) {
    EvolveOptions& evolve = spec_.evolve;
    Text(map, "base", evolve.base);
    if (const auto base = KvConfig::Parse(evolve.base); !base.ok()) {
      map.Fail("base", std::string(base.status().message()));
    }
    ReadCodecs(map, "k_codecs", evolve.k_codecs);
    ReadCodecs(map, "v_codecs", evolve.v_codecs);
    Whole(map, "population", 4, 10000, evolve.population);
    Whole(map, "generations", 0, kMaxCount, evolve.generations);
    Whole(map, "text_tokens", 256, kMaxTokens, evolve.text_tokens);
    if (map.Has("seed_bits")) map.Numbers("seed_bits", 1.0, 16.0, evolve.seed_bits);
    map.Finish();
  }

  const std::filesystem::path folder_;
  TuneSpec& spec_;
};

}  // namespace

std::string_view WeightsKindName(WeightsKind kind) {
  return kWeightsKinds[static_cast<size_t>(kind)];
}
std::string_view SearchModeName(SearchMode mode) { return kModes[static_cast<size_t>(mode)]; }

absl::StatusOr<std::vector<NamedConfig>> ConfigsOf(const TuneSpec& spec) {
  KVP_ASSIGN_OR_RETURN(const std::vector<SpaceConfig> configs, ExpandSpace(spec.space));
  std::vector<NamedConfig> named;
  for (const SpaceConfig& config : configs) named.push_back(config.named);
  if (spec.mode == SearchMode::kEvolve) {
    KVP_ASSIGN_OR_RETURN(KvConfig base, KvConfig::Parse(spec.evolve.base));
    base.codecs = {.k = spec.evolve.k_codecs.front(), .v = spec.evolve.v_codecs.front()};
    named.push_back({"evolved", std::move(base)});
  }
  return named;
}

absl::StatusOr<TuneSpec> ParseTuneSpec(const std::string& yaml, const std::string& path) {
  YamlErrors errors{.file_name = path, .reason = "TUNE_SPEC_INVALID", .first = {}};
  TuneSpec spec;
  spec.file_name = path;
  Reader reader(std::filesystem::path(path).parent_path(), spec);
  KVP_RETURN_IF_ERROR(ReadYaml(yaml, errors, [&](YamlMap map) { reader.ReadTop(std::move(map)); }));
  return spec;
}

absl::StatusOr<TuneSpec> LoadTuneSpec(const std::string& path) {
  KVP_ASSIGN_OR_RETURN(const std::string yaml, ReadTextFile(path));
  return ParseTuneSpec(yaml, path);
}

}  // namespace kvpareto::tune
