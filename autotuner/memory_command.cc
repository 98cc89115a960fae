#include <cstdio>

#include "absl/flags/flag.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"
#include "autotuner/memory_probe.h"

ABSL_DECLARE_FLAG(std::string, calibration);
ABSL_FLAG(std::string, config, "k=bf16 v=bf16 sink=0 recent=0 chunk=256",
          "memory: the KV config of the request");
ABSL_FLAG(int64_t, context, 8000, "memory: tokens of its prompt");
ABSL_FLAG(std::string, device, "auto", "memory: device that runs the model");

namespace kvpareto::tune {
namespace {

void Line(const char* what, uint64_t predicted, uint64_t measured) {
  std::printf("%-40s %14llu %14llu  %+.2f%%\n", what, static_cast<unsigned long long>(predicted),
              static_cast<unsigned long long>(measured),
              100.0 * (static_cast<double>(measured) / static_cast<double>(predicted) - 1.0));
}

}  // namespace

absl::Status RunMemory(const std::string& /*command*/) {
  MemoryProbeOptions options{.model_path = absl::GetFlag(FLAGS_model),
                             .calibration_path = absl::GetFlag(FLAGS_calibration),
                             .device = absl::GetFlag(FLAGS_device),
                             .tokens = absl::GetFlag(FLAGS_context),
                             .threads = absl::GetFlag(FLAGS_threads)};
  if (options.tokens < 1) return absl::InvalidArgumentError("--context must be positive");
  KVP_ASSIGN_OR_RETURN(options.config, KvConfig::Parse(absl::GetFlag(FLAGS_config)));
  KVP_ASSIGN_OR_RETURN(const MemoryProbe probe, ProbeMemory(options));
  const TotalMemory& predicted = probe.predicted;
  std::printf("%-40s %14s %14s\n", "bytes", "predicted", "measured");
  Line("arena: KV cache", predicted.kv_bytes, probe.arena_peak_bytes);
  if (probe.device_predicted_bytes > 0) {
    Line("device: with the whole arena", probe.device_predicted_bytes, probe.device_measured_bytes);
    std::printf("of the device: %llu for any program that opens it\n",
                static_cast<unsigned long long>(probe.device_context_bytes));
    return absl::OkStatus();
  }
  Line("process: total", probe.predicted_rss_bytes(), probe.rss_peak_bytes);
  std::printf("of the process: %llu weights, %llu KV cache, %llu workspace, %llu fixed\n",
              static_cast<unsigned long long>(predicted.weights_bytes),
              static_cast<unsigned long long>(predicted.kv_bytes),
              static_cast<unsigned long long>(predicted.workspace_bytes),
              static_cast<unsigned long long>(probe.fixed_bytes));
  return absl::OkStatus();
}

}  // namespace kvpareto::tune
