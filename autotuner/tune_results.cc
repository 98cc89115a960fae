#include "autotuner/tune_results.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "autotuner/journal.h"
#include "autotuner/provenance.h"

namespace kvpareto::tune {
namespace {

using Json = nlohmann::ordered_json;

std::string FileName(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == path.npos ? path : path.substr(slash + 1);
}

Json ToJson(const Interval& interval) {
  return {{"value", interval.value}, {"low", interval.low}, {"high", interval.high}};
}

Json ToJson(const PairedDifference& paired) {
  Json json = {{"score", paired.candidate},
               {"reference", paired.reference},
               {"difference", ToJson(paired.difference)},
               {"relative", nullptr},
               {"items", paired.items},
               {"changed", paired.changed}};
  if (paired.relative) json["relative"] = ToJson(*paired.relative);
  return json;
}

Json ToJson(const std::vector<AccuracyBucket>& buckets) {
  Json json = Json::array();
  for (const AccuracyBucket& b : buckets) {
    json.push_back({{"max_context_tokens", b.max_context_tokens},
                    {"accuracy", b.accuracy},
                    {"accuracy_low", b.accuracy_low},
                    {"kl_mean", b.kl_mean},
                    {"kl_p99", b.kl_p99},
                    {"perplexity_ratio", b.perplexity_ratio},
                    {"samples", b.samples}});
  }
  return json;
}

Json MemoryJson(const TotalMemory& total, const BaselineMemory& baseline, const KvConfig& config,
                const ModelConfig& model) {
  return {{"tokens", total.tokens},
          {"weights_bytes", total.weights_bytes},
          {"kv_bytes", total.kv_bytes},
          {"kv_bits_per_element", EffectiveBits(config, model, total.tokens)},
          {"workspace_bytes", total.workspace_bytes},
          {"total_bytes", total.total_bytes()},
          {"reduction_eager", Reduction(total.total_bytes(), baseline.eager_bytes())},
          {"reduction_flash", Reduction(total.total_bytes(), baseline.flash_bytes())}};
}

Json BaselinesJson(const ModelConfig& model, int64_t parameters,
                   const std::vector<int64_t>& lengths) {
  Json json = Json::array();
  for (int64_t tokens : lengths) {
    const BaselineMemory b = Baseline(model, parameters, tokens);
    json.push_back({{"tokens", tokens},
                    {"weights_bytes", b.weights_bytes},
                    {"kv_bytes", b.kv_bytes},
                    {"scores_bytes", b.scores_bytes},
                    {"eager_bytes", b.eager_bytes()},
                    {"flash_bytes", b.flash_bytes()}});
  }
  return json;
}

Json LayersJson(const KvConfig& config, int layers) {
  Json json = Json::array();
  for (const kv::LayerCodecs& codecs : config.PerLayer(layers)) {
    json.push_back(
        {{"k", kv::GetCodecInfo(codecs.k).name}, {"v", kv::GetCodecInfo(codecs.v).name}});
  }
  return json;
}

Json RowJson(const ModelResults& model, const WeightsResults& weights, size_t index,
             const TuneSpec& spec) {
  const Trial& trial = weights.trials[index];
  const KvConfig& config = trial.config.named.config;
  const ModelConfig& sizes = weights.model.config;
  Json json = {{"name", trial.config.named.name},
               {"config", config.ToString()},
               {"group", ConfigGroupName(trial.config.group)},
               {"techniques", TechniquesOf(config)},
               {"stage", TrialStageName(trial.stage)},
               {"failure", trial.failure},
               {"chunk", config.prefill_chunk_tokens}};
  if (!config.layer_overrides.empty()) json["layers"] = LayersJson(config, sizes.layers);
  json["memory"] = Json::array();
  const size_t lengths = spec.memory_tokens.size();
  for (size_t m = 0; m < lengths; ++m) {
    const TotalMemory& total = weights.totals[index * lengths + m];
    json["memory"].push_back(
        MemoryJson(total, Baseline(sizes, model.spec.parameters, total.tokens), config, sizes));
  }
  json["gate"] = ToJson(trial.gate);
  json["accuracy"] = ToJson(trial.accuracy);
  json["speed"] = nullptr;
  json["measured_memory"] = nullptr;
  if (trial.run) {
    const SpeedPoint& speed = trial.run->speed;
    json["speed"] = {{"prefill_tokens_per_second", speed.prefill_tokens_per_second},
                     {"decode_tokens_per_second", speed.decode_tokens_per_second},
                     {"context_tokens", speed.context_tokens}};
    json["measured_memory"] = {{"context_tokens", speed.context_tokens},
                               {"predicted_peak_bytes", trial.run->predicted_peak_bytes},
                               {"measured_peak_bytes", trial.run->measured_peak_bytes}};
  }
  json["tasks"] = Json::array();
  json["score"] = nullptr;
  if (!trial.task_scores.empty() && !model.reference_scores.empty()) {
    for (const TaskDifference& d : TaskDifferences(model, trial.task_scores, spec.seed)) {
      Json task = {{"task", d.task}, {"context", d.bucket}};
      task.update(ToJson(d.paired));
      json["tasks"].push_back(std::move(task));
    }
    json["score"] = ToJson(MeanDifference(model, trial.task_scores, spec.seed));
  }
  json["frontier"] = weights.frontier[index];
  return json;
}

Json CodecEffectsJson(const std::vector<kv::CodecId>& codecs, const std::vector<double>& effects) {
  Json json = Json::object();
  for (size_t i = 0; i < codecs.size(); ++i) {
    json[std::string(kv::GetCodecInfo(codecs[i]).name)] = effects[i];
  }
  return json;
}

Json LayerEffectsJson(const std::vector<LayerEffects>& layers, const EvolveOptions& evolve) {
  Json json = Json::array();
  for (const LayerEffects& layer : layers) {
    json.push_back({{"layer", json.size()},
                    {"k", CodecEffectsJson(evolve.k_codecs, layer.k)},
                    {"v", CodecEffectsJson(evolve.v_codecs, layer.v)}});
  }
  return json;
}

Json WeightsJson(const ModelResults& model, const WeightsResults& weights, const TuneSpec& spec) {
  Json json = {
      {"kind", WeightsKindName(weights.spec.kind)},      {"file", FileName(weights.spec.path)},
      {"fingerprint", weights.model.fingerprint},        {"bytes", weights.model.weights_bytes},
      {"file_bytes", weights.model.file_bytes},          {"table", weights.table_file},
      {"calibration_sha256", weights.calibration_digest}};
  json["rows"] = Json::array();
  for (size_t i = 0; i < weights.trials.size(); ++i) {
    json["rows"].push_back(RowJson(model, weights, i, spec));
  }
  if (!weights.layer_effects.empty()) {
    json["layer_sensitivity"] = LayerEffectsJson(weights.layer_effects, spec.evolve);
  }
  return json;
}

Json TaskJson(const TaskSummary& task) {
  std::map<int64_t, int64_t> counts;
  for (int64_t bucket : task.item_buckets) ++counts[bucket];
  Json buckets = Json::array();
  for (const auto& [bucket, items] : counts) {
    buckets.push_back({{"context", bucket}, {"items", items}});
  }
  return {{"name", task.name}, {"kind", task.kind}, {"sha256", task.digest}, {"contexts", buckets}};
}

Json ModelJson(const ModelResults& model, const TuneSpec& spec) {
  Json json = {{"name", model.spec.name}};
  if (model.weights.empty()) return json;
  const ModelConfig& sizes = model.weights.front().model.config;
  json["full_name"] = sizes.name;
  json["layers"] = sizes.layers;
  json["heads"] = sizes.heads;
  json["kv_heads"] = sizes.kv_heads;
  json["head_dim"] = sizes.head_dim;
  json["parameters"] = model.spec.parameters > 0 ? model.spec.parameters : CountParameters(sizes);
  json["baselines"] = BaselinesJson(sizes, model.spec.parameters, spec.memory_tokens);
  json["tasks"] = Json::array();
  for (const TaskSummary& task : model.tasks) json["tasks"].push_back(TaskJson(task));
  json["weights"] = Json::array();
  for (const WeightsResults& weights : model.weights) {
    json["weights"].push_back(WeightsJson(model, weights, spec));
  }
  return json;
}

// Scores of every task and bucket, apart.
std::map<std::pair<size_t, int64_t>, PairedScores> Split(
    const ModelResults& model, const std::vector<std::vector<double>>& scores) {
  std::map<std::pair<size_t, int64_t>, PairedScores> parts;
  for (size_t t = 0; t < model.tasks.size(); ++t) {
    for (size_t i = 0; i < model.tasks[t].item_buckets.size(); ++i) {
      PairedScores& part = parts[{t, model.tasks[t].item_buckets[i]}];
      part.candidate.push_back(scores[t][i]);
      part.reference.push_back(model.reference_scores[t][i]);
    }
  }
  return parts;
}

std::string CsvField(const Json& value) {
  if (value.is_null()) return "";
  if (!value.is_string()) return value.dump();
  std::string quoted = "\"";
  for (char c : value.get<std::string>())
    quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

// The columns of one row, named.
std::vector<std::pair<std::string, Json>> CsvColumns(const Json& results, const Json& model,
                                                     const Json& weights, const Json& row) {
  std::vector<std::pair<std::string, Json>> columns = {
      {"model", model["name"]}, {"weights", weights["kind"]}, {"name", row["name"]},
      {"group", row["group"]},  {"stage", row["stage"]},      {"failure", row["failure"]},
      {"config", row["config"]}};
  for (const Json& memory : row["memory"]) {
    const std::string at = "_" + memory["tokens"].dump();
    for (const char* key :
         {"kv_bytes", "kv_bits_per_element", "total_bytes", "reduction_eager", "reduction_flash"}) {
      columns.emplace_back(key + at, memory[key]);
    }
  }
  for (const Json& context : results["contexts"]) {
    const Json* bucket = nullptr;
    for (const Json& b : row["accuracy"]) {
      if (b["max_context_tokens"] == context) bucket = &b;
    }
    for (const char* key : {"accuracy", "accuracy_low", "kl_mean", "kl_p99"}) {
      columns.emplace_back(key + ("_" + context.dump()), bucket ? (*bucket)[key] : Json());
    }
  }
  const Json& speed = row["speed"];
  for (const char* key : {"prefill_tokens_per_second", "decode_tokens_per_second"}) {
    columns.emplace_back(key, speed.is_null() ? Json() : speed[key]);
  }
  const Json& score = row["score"];
  columns.emplace_back("task_score", score.is_null() ? Json() : score["score"]);
  const Json relative = score.is_null() ? Json() : score["relative"];
  for (const char* key : {"value", "low", "high"}) {
    columns.emplace_back(std::string("task_relative_") + key,
                         relative.is_null() ? Json() : relative[key]);
  }
  return columns;
}

}  // namespace

TaskSummary SummaryOf(const Task& task) {
  TaskSummary summary{.name = task.name, .kind = task.kind};
  std::vector<std::string> digests;
  for (const TaskItem& item : task.items) {
    digests.push_back(item.digest);
    summary.item_buckets.push_back(item.bucket);
  }
  summary.digest = KeyOf(digests);
  return summary;
}

std::vector<TaskDifference> TaskDifferences(const ModelResults& model,
                                            const std::vector<std::vector<double>>& scores,
                                            uint64_t seed) {
  std::vector<TaskDifference> differences;
  for (const auto& [key, part] : Split(model, scores)) {
    differences.push_back({.task = model.tasks[key.first].name,
                           .bucket = key.second,
                           .paired = ComparePaired({&part, 1}, {.seed = seed})});
  }
  return differences;
}

PairedDifference MeanDifference(const ModelResults& model,
                                const std::vector<std::vector<double>>& scores, uint64_t seed) {
  std::vector<PairedScores> parts;
  for (auto& [key, part] : Split(model, scores)) parts.push_back(std::move(part));
  return ComparePaired(parts, {.seed = seed});
}

Json ResultsJson(const RunResults& results, const TuneSpec& spec) {
  Json json = {{"schema_version", RunResults::kSchemaVersion},
               {"tool_version", ToolVersion()},
               {"command", results.command},
               {"date", results.date},
               {"machine", results.machine},
               {"spec_sha256", results.spec_digest},
               {"seed", spec.seed},
               {"mode", SearchModeName(spec.mode)},
               {"complete", results.complete},
               {"text", results.text},
               {"contexts", spec.text.accuracy.contexts},
               {"decode_tokens", spec.text.accuracy.decode_tokens},
               {"windows", spec.text.windows},
               {"memory_tokens", spec.memory_tokens}};
  json["models"] = Json::array();
  for (const ModelResults& model : results.models) json["models"].push_back(ModelJson(model, spec));
  return json;
}

std::string ResultsCsv(const Json& results) {
  std::string header, lines;
  for (const Json& model : results["models"]) {
    if (!model.contains("weights")) continue;
    for (const Json& weights : model["weights"]) {
      for (const Json& row : weights["rows"]) {
        std::string names, line;
        for (const auto& [name, value] : CsvColumns(results, model, weights, row)) {
          names += (names.empty() ? "" : ",") + name;
          line += (line.empty() ? "" : ",") + CsvField(value);
        }
        header = names;
        lines += line + "\n";
      }
    }
  }
  return header + "\n" + lines;
}

}  // namespace kvpareto::tune
