#include "autotuner/trial_bench.h"

#include <algorithm>
#include <utility>

#include "autotuner/provenance.h"
#include "autotuner/sha256.h"
#include "autotuner/text_file.h"
#include "autotuner/text_windows.h"

namespace kvpareto::tune {
namespace {

constexpr size_t kValuesPerBucket = 7;  // of a journal record
constexpr size_t kValuesPerRun = 5;

std::vector<double> Flatten(const std::vector<AccuracyBucket>& buckets) {
  std::vector<double> values;
  for (const AccuracyBucket& b : buckets) {
    values.insert(values.end(),
                  {static_cast<double>(b.max_context_tokens), b.accuracy, b.accuracy_low, b.kl_mean,
                   b.kl_p99, b.perplexity_ratio, static_cast<double>(b.samples)});
  }
  return values;
}

std::vector<AccuracyBucket> Unflatten(const std::vector<double>& v) {
  std::vector<AccuracyBucket> buckets;
  for (size_t i = 0; i + kValuesPerBucket <= v.size(); i += kValuesPerBucket) {
    buckets.push_back({.max_context_tokens = static_cast<int64_t>(v[i]),
                       .accuracy = v[i + 1],
                       .accuracy_low = v[i + 2],
                       .kl_mean = v[i + 3],
                       .kl_p99 = v[i + 4],
                       .perplexity_ratio = v[i + 5],
                       .samples = static_cast<int64_t>(v[i + 6])});
  }
  return buckets;
}

std::string WindowsDigest(const std::vector<std::vector<int32_t>>& windows) {
  std::vector<std::string> digests;
  for (const auto& window : windows) digests.push_back(TokensDigest(window));
  return KeyOf(digests);
}

EngineOptions OptionsFor(const TuneSpec& spec, const std::string& model_path,
                         const std::string& calibration_path,
                         const std::vector<NamedConfig>& configs) {
  EngineOptions options;
  options.model_path = model_path;
  options.calibration_path = calibration_path;
  options.kv_capacity_bytes = spec.kv_capacity_bytes;
  options.threads = spec.threads;
  options.device = spec.device;
  for (const NamedConfig& named : configs) {
    options.max_step_tokens = std::max(options.max_step_tokens, named.config.prefill_chunk_tokens);
  }
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrialBench>> TrialBench::Open(
    const TuneSpec& spec, const std::string& model_path, const std::string& calibration_path,
    const std::vector<NamedConfig>& configs, const StopCheck& stop, Journal& journal) {
  std::unique_ptr<TrialBench> bench(new TrialBench(spec, journal));
  KVP_ASSIGN_OR_RETURN(bench->engine_,
                       Engine::Create(OptionsFor(spec, model_path, calibration_path, configs)));
  KVP_RETURN_IF_ERROR(bench->LoadCalibration(calibration_path));
  KVP_RETURN_IF_ERROR(bench->CutTexts());
  KVP_RETURN_IF_ERROR(bench->MakeTasks(stop));

  const AccuracyOptions& accuracy = spec.text.accuracy;
  const int64_t gate =
      spec.quick.gate_context > 0 ? spec.quick.gate_context : accuracy.contexts.front();
  bench->gate_options_ = accuracy;
  bench->gate_options_.contexts = {gate};
  const std::vector<int32_t>& window = bench->windows_.front();
  bench->gate_windows_ = {{window.begin(), window.begin() + gate}};
  bench->first_counted_ = FirstCountedPosition(configs, accuracy.decode_tokens);
  if (bench->first_counted_ + 1 >= gate) {
    return MakeError(absl::StatusCode::kInvalidArgument, "NOTHING_COUNTED",
                     "every context must exceed " + std::to_string(bench->first_counted_ + 1) +
                         " tokens, so that all configs are compared where they are quantized",
                     {{"first_counted_position", std::to_string(bench->first_counted_)}});
  }
  bench->gate_ = std::make_unique<AccuracyMeter>(*bench->engine_, bench->gate_windows_,
                                                 bench->gate_options_, bench->first_counted_);
  bench->accuracy_ = std::make_unique<AccuracyMeter>(*bench->engine_, bench->windows_, accuracy,
                                                     bench->first_counted_);
  return bench;
}

absl::Status TrialBench::LoadCalibration(const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  const ModelInfo& model = engine_->model();
  KVP_ASSIGN_OR_RETURN(calibration_,
                       kvpareto::LoadCalibration(path, model.config, model.fingerprint));
  KVP_ASSIGN_OR_RETURN(const std::string bytes, ReadTextFile(path));
  calibration_digest_ = Sha256Hex(bytes);
  return absl::OkStatus();
}

absl::Status TrialBench::CutTexts() {
  std::string text;
  for (const std::string& path : spec_.text.files) {
    KVP_ASSIGN_OR_RETURN(std::string content, ReadTextFile(path));
    std::erase(content, '\r');
    text += (text.empty() ? "" : "\n\n") + (IsCode(path) ? content : JoinLines(content));
  }
  KVP_ASSIGN_OR_RETURN(windows_, CutWindows(*engine_, text, spec_.text.windows,
                                            spec_.text.accuracy.contexts.back()));
  text_digest_ = WindowsDigest(windows_);
  return absl::OkStatus();
}

absl::Status TrialBench::MakeTasks(const StopCheck& stop) {
  for (const TaskSpec& spec : spec_.tasks) {
    auto task = MakeTask(*engine_, spec);
    if (!task.ok()) return Annotate(task.status(), "task " + spec.Name());
    tasks_.push_back(*std::move(task));
  }
  TaskRunOptions options{.calibration_digest = calibration_digest_, .stop = &stop.stopped()};
  options.known = [this](const std::string& key) -> std::optional<double> {
    const std::vector<double>* known = journal_.Find(key);
    if (known == nullptr || known->size() != 1) return std::nullopt;
    return known->front();
  };
  options.finished = [this](const TaskItem& item, const std::string& key, const ItemScore& score) {
    return journal_.Append(key, {score.score}, "item " + item.id);
  };
  task_runner_ = std::make_unique<TaskRunner>(*engine_, std::move(options));
  return absl::OkStatus();
}

std::string TrialBench::Key(const std::string& kind, const NamedConfig& config,
                            const std::vector<std::string>& parts) const {
  std::vector<std::string> all = {kind,
                                  ToolVersion(),
                                  engine_->model().fingerprint,
                                  engine_->model().backend,
                                  config.config.ToString(),
                                  config.config.needs_calibration() ? calibration_digest_ : ""};
  all.insert(all.end(), parts.begin(), parts.end());
  return KeyOf(all);
}

absl::StatusOr<std::vector<AccuracyBucket>> TrialBench::Buckets(const std::string& kind,
                                                                AccuracyMeter& meter,
                                                                const AccuracyOptions& options,
                                                                int64_t first_counted,
                                                                const NamedConfig& config) {
  std::vector<std::string> parts = {
      text_digest_, std::to_string(options.decode_tokens), std::to_string(first_counted),
      std::to_string(options.reference_bytes), std::to_string(spec_.text.windows)};
  for (int64_t context : options.contexts) parts.push_back(std::to_string(context));
  const std::string key = Key(kind, config, parts);
  if (const std::vector<double>* known = journal_.Find(key)) return Unflatten(*known);
  KVP_ASSIGN_OR_RETURN(std::vector<AccuracyBucket> buckets, meter.Buckets(config.config));
  KVP_RETURN_IF_ERROR(journal_.Append(key, Flatten(buckets), kind + " " + config.name));
  return buckets;
}

absl::StatusOr<std::vector<AccuracyBucket>> TrialBench::Gate(const NamedConfig& config) {
  return Buckets("gate", *gate_, gate_options_, first_counted_, config);
}

absl::StatusOr<std::vector<AccuracyBucket>> TrialBench::Accuracy(const NamedConfig& config) {
  return Buckets("accuracy", *accuracy_, spec_.text.accuracy, first_counted_, config);
}

int64_t TrialBench::speed_work() const {
  return (spec_.speed.context_tokens + spec_.speed.decode_tokens) * spec_.speed.repeats;
}

absl::StatusOr<MeasuredRun> TrialBench::Speed(const NamedConfig& config) {
  const std::span<const int32_t> prompt =
      std::span<const int32_t>(windows_.front()).first(spec_.speed.context_tokens);
  const std::string key = Key(
      "speed", config,
      {MachineText(engine_->model(), spec_.threads), TokensDigest({prompt.begin(), prompt.end()}),
       std::to_string(spec_.speed.decode_tokens), std::to_string(spec_.speed.repeats)});
  if (const auto* known = journal_.Find(key); known && known->size() == kValuesPerRun) {
    const std::vector<double>& v = *known;
    return MeasuredRun{.speed = {.prefill_tokens_per_second = v[0],
                                 .decode_tokens_per_second = v[1],
                                 .context_tokens = static_cast<int64_t>(v[2])},
                       .predicted_peak_bytes = static_cast<uint64_t>(v[3]),
                       .measured_peak_bytes = static_cast<uint64_t>(v[4])};
  }
  KVP_ASSIGN_OR_RETURN(const std::vector<MeasuredRun> runs,
                       MeasureSpeeds(*engine_, prompt, {config}, spec_.speed, nullptr));
  const MeasuredRun& run = runs.front();
  KVP_RETURN_IF_ERROR(journal_.Append(
      key,
      {run.speed.prefill_tokens_per_second, run.speed.decode_tokens_per_second,
       static_cast<double>(run.speed.context_tokens), static_cast<double>(run.predicted_peak_bytes),
       static_cast<double>(run.measured_peak_bytes)},
      "speed " + config.name));
  return run;
}

int64_t TrialBench::task_prompt_tokens() const {
  int64_t tokens = 0;
  for (const Task& task : tasks_) {
    for (const TaskItem& item : task.items) tokens += std::ssize(item.prompt);
  }
  return tokens;
}

int64_t TrialBench::task_new_tokens() const {
  int64_t tokens = 0;
  for (const Task& task : tasks_) {
    for (const TaskItem& item : task.items) {
      if (const auto* answer = std::get_if<Answer>(&item.expected)) {
        tokens += answer->max_new_tokens;
      }
    }
  }
  return tokens;
}

absl::StatusOr<std::vector<std::vector<double>>> TrialBench::Tasks(const NamedConfig& config) {
  std::vector<std::vector<double>> scores;
  for (const Task& task : tasks_) {
    KVP_ASSIGN_OR_RETURN(const std::vector<ItemScore> items, task_runner_->Run(task, config));
    std::vector<double>& of_task = scores.emplace_back();
    for (const ItemScore& item : items) of_task.push_back(item.score);
  }
  return scores;
}

std::string TrialBench::FailureKey(TrialStage stage, const NamedConfig& config) const {
  return Key(
      "failure", config,
      {std::string(TrialStageName(stage)), text_digest_, std::to_string(spec_.kv_capacity_bytes)});
}

absl::StatusOr<Pace> TrialBench::MeasurePace() {
  constexpr SpeedOptions kShort = {.context_tokens = 512, .decode_tokens = 8, .repeats = 1};
  const std::vector<int32_t>& window = windows_.front();
  const auto tokens = std::min<size_t>(kShort.context_tokens, window.size());
  KVP_ASSIGN_OR_RETURN(const std::vector<MeasuredRun> runs,
                       MeasureSpeeds(*engine_, std::span(window).first(tokens),
                                     {{"bf16", KvConfig::Bf16(256)}}, kShort, nullptr));
  return Pace{.prefill = runs.front().speed.prefill_tokens_per_second,
              .decode = runs.front().speed.decode_tokens_per_second};
}

}  // namespace kvpareto::tune
