#include "autotuner/measure.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <set>

#include "autotuner/progress.h"
#include "autotuner/provenance.h"
#include "autotuner/table_rows.h"
#include "autotuner/text_windows.h"

namespace kvpareto::tune {
namespace {

absl::Status OptionError(const std::string& option, const std::string& rule) {
  return MakeError(absl::StatusCode::kInvalidArgument, "TUNE_OPTION_INVALID", option + " " + rule,
                   {{"option", option}});
}

absl::StatusOr<std::unique_ptr<Engine>> OpenEngine(const MeasureOptions& options) {
  EngineOptions engine;
  engine.model_path = options.model_path;
  engine.kv_capacity_bytes = options.kv_capacity_bytes;
  engine.threads = options.threads;
  engine.calibration_path = options.calibration_path;
  for (const NamedConfig& named : options.configs) {
    engine.max_step_tokens = std::max(engine.max_step_tokens, named.config.prefill_chunk_tokens);
  }
  return Engine::Create(engine);
}

absl::StatusOr<std::vector<NamedConfig>> UsableConfigs(const MeasureOptions& options,
                                                       const ModelInfo& model) {
  std::optional<Calibration> calibration;
  if (!options.calibration_path.empty()) {
    KVP_ASSIGN_OR_RETURN(
        calibration, LoadCalibration(options.calibration_path, model.config, model.fingerprint));
  }
  std::vector<std::string> dropped;
  std::vector<NamedConfig> configs =
      ForModel(options.configs, model.config, calibration ? &*calibration : nullptr, &dropped);
  for (const std::string& name : dropped) {
    std::fprintf(stderr, "%s: not possible with this model%s, left out\n", name.c_str(),
                 calibration ? " and calibration" : "");
  }
  return configs;
}

absl::StatusOr<std::vector<ParetoRow>> MeasureRows(Engine& engine,
                                                   const std::vector<std::vector<int32_t>>& windows,
                                                   const std::vector<NamedConfig>& configs,
                                                   const MeasureOptions& options) {
  Progress accuracy_progress("tokens for accuracy",
                             AccuracyWork(configs, options.windows, options.accuracy));
  KVP_ASSIGN_OR_RETURN(const auto accuracy, MeasureAccuracy(engine, windows, configs,
                                                            options.accuracy, accuracy_progress));
  Progress speed_progress("runs for speed", SpeedWork(configs, options.speed));
  const std::span<const int32_t> prompt(windows.front());
  KVP_ASSIGN_OR_RETURN(const std::vector<MeasuredRun> runs,
                       MeasureSpeeds(engine, prompt.first(options.speed.context_tokens), configs,
                                     options.speed, &speed_progress));

  std::vector<ParetoRow> rows;
  for (size_t i = 0; i < configs.size(); ++i) {
    ParetoRow& row = rows.emplace_back(RowOf(engine, configs[i].name, configs[i].config));
    row.accuracy = accuracy[i];
    row.speed = runs[i].speed;
    RoundNumbers(row);
  }
  return rows;
}

}  // namespace

absl::Status MeasureOptions::Validate() const {
  if (model_path.empty()) return OptionError("model", "is missing");
  if (text.empty()) return OptionError("text", "is empty");
  if (configs.empty()) return OptionError("configs", "is empty");
  if (windows < 1) return OptionError("windows", "must be at least 1");
  if (accuracy.contexts.empty()) return OptionError("contexts", "is empty");
  if (accuracy.contexts.front() < 2) return OptionError("contexts", "must be at least 2 tokens");
  const std::set<int64_t> ascending(accuracy.contexts.begin(), accuracy.contexts.end());
  if (!std::equal(ascending.begin(), ascending.end(), accuracy.contexts.begin(),
                  accuracy.contexts.end())) {
    return OptionError("contexts", "must ascend");
  }
  if (accuracy.decode_tokens < 0) return OptionError("decode_tokens", "is negative");
  if (speed.repeats < 1) return OptionError("speed_repeats", "must be at least 1");
  if (speed.decode_tokens < 1) return OptionError("speed_decode_tokens", "must be at least 1");
  if (speed.context_tokens < 1 || speed.context_tokens > accuracy.contexts.back()) {
    return OptionError("speed_context", "must be between 1 and the largest context");
  }
  return absl::OkStatus();
}

absl::StatusOr<ParetoTable> Measure(const MeasureOptions& options) {
  KVP_RETURN_IF_ERROR(options.Validate());
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenEngine(options));
  const ModelInfo& model = engine->model();
  KVP_ASSIGN_OR_RETURN(const std::vector<NamedConfig> configs, UsableConfigs(options, model));
  const int64_t longest = options.accuracy.contexts.back();
  KVP_ASSIGN_OR_RETURN(const auto windows,
                       CutWindows(*engine, options.text, options.windows, longest));

  KVP_ASSIGN_OR_RETURN(std::vector<ParetoRow> rows,
                       MeasureRows(*engine, windows, configs, options));

  ParetoTable table;
  table.model_name = model.config.name;
  table.model_fingerprint = model.fingerprint;
  table.provenance = MakeProvenance(options, model);
  table.rows =
      options.keep_dominated ? rows : Frontier(rows, model.config, options.accuracy.contexts);
  return table;
}

}  // namespace kvpareto::tune
