#include "autotuner/memory_probe.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <vector>

#include "autotuner/speed.h"
#include "engine/backend_factory.h"
#include "engine/model_files.h"

namespace kvpareto::tune {
namespace {

// A line of /proc/self/status, "VmRSS:   1234 kB"; 0 where there is none.
uint64_t ProcessBytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) {
      return std::strtoull(line.c_str() + field.size() + 1, nullptr, 10) << 10;
    }
  }
  return 0;
}

// From here on VmHWM is the peak of what follows: loading maps the model's file beside the weights.
bool ForgetPeak() { return static_cast<bool>(std::ofstream("/proc/self/clear_refs") << "5\n"); }

// What the driver says is in use on the first GPU; 0 where there is none.
uint64_t DeviceBytes() {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(
      popen("nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null", "r"),
      pclose);
  unsigned long long mib = 0;
  if (pipe == nullptr || std::fscanf(pipe.get(), "%llu", &mib) != 1) return 0;
  return uint64_t{mib} << 20;
}

// What the driver takes of the GPU, from `start_bytes` on, for a program that only opens it. It
// stays open. 0 where there is none.
absl::StatusOr<uint64_t> ContextBytes(const std::string& device, uint64_t start_bytes) {
  if (device == "cpu") return 0;
  KVP_ASSIGN_OR_RETURN(const CreatedBackend opened, CreateBackend({.device = device}));
  if (!opened.backend->DeviceMemory()) return 0;
  const uint64_t own = opened.backend->scratch_bytes() + start_bytes;
  const uint64_t used = DeviceBytes();
  return used - std::min(used, own);
}

// A prompt without meaning whose tokens all models have.
std::vector<int32_t> Prompt(int64_t tokens) {
  std::vector<int32_t> prompt(tokens);
  for (int64_t i = 0; i < tokens; ++i) prompt[i] = static_cast<int32_t>(100 + i * i % 97);
  return prompt;
}

constexpr int kGenerated = 2;  // MeasureSpeeds decodes at least one behind the first

// One request of `tokens`, alone.
absl::StatusOr<MeasuredRun> RunOne(Engine& engine, const KvConfig& config, int64_t tokens) {
  const SpeedOptions once = {
      .context_tokens = tokens, .decode_tokens = kGenerated - 1, .repeats = 1};
  KVP_ASSIGN_OR_RETURN(const std::vector<MeasuredRun> runs,
                       MeasureSpeeds(engine, Prompt(tokens), {{"probe", config}}, once, nullptr));
  return runs.front();
}

uint64_t KvPeakBytes(const KvConfig& config, const ModelConfig& model, int64_t tokens) {
  return kv::PredictPeakBytes(Footprint(config, model), tokens, tokens + kGenerated,
                              config.prefill_chunk_tokens);
}

absl::StatusOr<std::unique_ptr<Engine>> CreateEngine(const MemoryProbeOptions& options) {
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<ModelFiles> files,
                       ModelFiles::Open(options.model_path));
  KVP_RETURN_IF_ERROR(options.config.ValidateFor(files->config()));
  EngineOptions engine;
  engine.model_path = options.model_path;
  engine.calibration_path = options.calibration_path;
  engine.device = options.device;
  engine.threads = options.threads;
  engine.max_step_tokens = options.config.prefill_chunk_tokens;
  engine.max_running_sequences = 1;
  engine.max_sequences_per_request = 1;
  engine.kv_capacity_bytes = KvPeakBytes(options.config, files->config(), options.tokens);
  return Engine::Create(engine);
}

// What the process takes beside `total` now.
uint64_t BytesBeside(const TotalMemory& total) {
  const uint64_t resident = ProcessBytes("VmRSS");
  return resident - std::min(resident, total.total_bytes());
}

}  // namespace

absl::StatusOr<MemoryProbe> ProbeMemory(const MemoryProbeOptions& options) {
  const uint64_t device_start_bytes = DeviceBytes();
  KVP_ASSIGN_OR_RETURN(const uint64_t context_bytes,
                       ContextBytes(options.device, device_start_bytes));
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, CreateEngine(options));
  const auto predict = [&](int64_t tokens) {
    TotalMemory total = PredictTotal(*engine, options.config, tokens);
    total.kv_bytes = KvPeakBytes(options.config, engine->model().config, tokens);
    return total;
  };
  const int64_t first = std::min<int64_t>(options.tokens, options.config.prefill_chunk_tokens);
  KVP_RETURN_IF_ERROR(RunOne(*engine, options.config, first).status());
  MemoryProbe probe{.predicted = predict(options.tokens),
                    .fixed_bytes = BytesBeside(predict(first))};
  if (!ForgetPeak()) {
    return MakeError(absl::StatusCode::kInternal, "FILE_NOT_WRITABLE",
                     "cannot write /proc/self/clear_refs", {{"path", "/proc/self/clear_refs"}});
  }
  KVP_ASSIGN_OR_RETURN(const MeasuredRun run, RunOne(*engine, options.config, options.tokens));
  probe.measured_peak_bytes = run.measured_peak_bytes;
  probe.arena_peak_bytes = probe.measured_peak_bytes - probe.predicted.workspace_bytes;
  probe.rss_peak_bytes = ProcessBytes("VmHWM");
  const EngineStats stats = engine->Stats();
  if (stats.device_used_bytes > 0) {
    probe.device_context_bytes = context_bytes;
    probe.device_predicted_bytes = context_bytes + stats.weights_bytes + stats.workspace_bytes +
                                   stats.scratch_bytes + stats.capacity_bytes;
    probe.device_measured_bytes = DeviceBytes() - device_start_bytes;
  }
  return probe;
}

}  // namespace kvpareto::tune
