#include "autotuner/memory_probe.h"

#include <cstdio>
#include <fstream>
#include <memory>
#include <vector>

#include "autotuner/speed.h"

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

// What the driver says is in use on the first GPU.
std::optional<uint64_t> DeviceBytes() {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(
      popen("nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null", "r"),
      pclose);
  unsigned long long mib = 0;
  if (pipe == nullptr || std::fscanf(pipe.get(), "%llu", &mib) != 1) return std::nullopt;
  return uint64_t{mib} << 20;
}

// A prompt without meaning whose tokens all models have.
std::vector<int32_t> Prompt(int64_t tokens) {
  std::vector<int32_t> prompt(tokens);
  for (int64_t i = 0; i < tokens; ++i) prompt[i] = static_cast<int32_t>(100 + i * i % 97);
  return prompt;
}

}  // namespace

absl::StatusOr<MemoryProbe> ProbeMemory(const MemoryProbeOptions& options) {
  constexpr int64_t kGenerated = 2;  // MeasureSpeeds decodes at least one behind the first
  MemoryProbe probe{.rss_start_bytes = ProcessBytes("VmRSS"), .device_start_bytes = DeviceBytes()};
  EngineOptions engine_options;
  engine_options.model_path = options.model_path;
  engine_options.calibration_path = options.calibration_path;
  engine_options.device = options.device;
  engine_options.threads = options.threads;
  engine_options.max_step_tokens = options.config.prefill_chunk_tokens;
  engine_options.max_running_sequences = 1;
  engine_options.kv_capacity_bytes = options.kv_capacity_bytes;
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(engine_options));
  probe.rss_loaded_bytes = ProcessBytes("VmRSS");
  probe.device_loaded_bytes = DeviceBytes();
  probe.predicted = PredictTotal(*engine, options.config, options.tokens);
  KVP_ASSIGN_OR_RETURN(
      const std::vector<MeasuredRun> runs,
      MeasureSpeeds(
          *engine, Prompt(options.tokens), {{"probe", options.config}},
          {.context_tokens = options.tokens, .decode_tokens = kGenerated - 1, .repeats = 1},
          nullptr));
  probe.measured_peak_bytes = runs.front().measured_peak_bytes;
  probe.arena_peak_bytes = probe.measured_peak_bytes - probe.predicted.workspace_bytes;
  probe.rss_peak_bytes = ProcessBytes("VmHWM");
  probe.device_peak_bytes = DeviceBytes();
  return probe;
}

}  // namespace kvpareto::tune
