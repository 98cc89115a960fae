#include "autotuner/measure.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <set>

#include "autotuner/memory.h"
#include "autotuner/progress.h"
#include "autotuner/provenance.h"
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

// The rows that nothing dominates at some length; the fastest bf16 row if none of them is bf16.
std::vector<ParetoRow> Frontier(const std::vector<ParetoRow>& rows, const ModelConfig& model,
                                std::span<const int64_t> contexts) {
  std::vector<ParetoRow> kept = NonDominated(rows, model, contexts);
  const auto is_bf16 = [](const ParetoRow& row) { return row.config.is_bf16(); };
  if (std::any_of(kept.begin(), kept.end(), is_bf16)) return kept;
  const ParetoRow* fastest = nullptr;
  for (const ParetoRow& row : rows) {
    if (is_bf16(row) && (fastest == nullptr || row.speed.decode_tokens_per_second >
                                                   fastest->speed.decode_tokens_per_second)) {
      fastest = &row;
    }
  }
  if (fastest != nullptr) kept.insert(kept.begin(), *fastest);
  return kept;
}

// To `digits` significant decimal digits: no measured number here is better than that.
double Rounded(double value, int digits) {
  if (value == 0.0) return 0.0;
  const double unit = std::pow(10.0, std::floor(std::log10(std::abs(value))) + 1 - digits);
  // A division by a whole number at the end gives the double that prints short.
  return unit < 1.0 ? std::round(value / unit) / std::round(1.0 / unit)
                    : std::round(value / unit) * unit;
}

void RoundNumbers(ParetoRow& row) {
  for (AccuracyBucket& bucket : row.accuracy) {
    bucket.accuracy = Rounded(bucket.accuracy, 4);
    bucket.accuracy_low = std::floor(bucket.accuracy_low * 1e4) / 1e4;  // a bound stays one
    bucket.kl_mean = Rounded(bucket.kl_mean, 3);
    bucket.kl_p99 = Rounded(bucket.kl_p99, 3);
    bucket.perplexity_ratio = Rounded(bucket.perplexity_ratio, 5);
  }
  row.speed.prefill_tokens_per_second = Rounded(row.speed.prefill_tokens_per_second, 3);
  row.speed.decode_tokens_per_second = Rounded(row.speed.decode_tokens_per_second, 3);
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
  KVP_ASSIGN_OR_RETURN(const std::vector<SpeedPoint> speeds,
                       MeasureSpeeds(engine, prompt.first(options.speed.context_tokens), configs,
                                     options.speed, speed_progress));

  std::vector<ParetoRow> rows;
  for (size_t i = 0; i < configs.size(); ++i) {
    const KvConfig& config = configs[i].config;
    const MemoryCost cost = CostOf(config, engine.model().config);
    rows.push_back({.name = configs[i].name,
                    .config = config,
                    .bytes_per_token = cost.bytes_per_token,
                    .fixed_bytes = cost.fixed_bytes,
                    .workspace_bytes = engine.WorkspaceBytes(config.prefill_chunk_tokens),
                    .accuracy = accuracy[i],
                    .speed = speeds[i]});
    RoundNumbers(rows.back());
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
