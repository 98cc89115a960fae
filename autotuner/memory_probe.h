// The memory model held against measurement: one request of a given length, alone in a process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "autotuner/memory_model.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct MemoryProbe {
  TotalMemory predicted;
  uint64_t arena_peak_bytes = 0;     // of the request's extents, by the arena
  uint64_t measured_peak_bytes = 0;  // and its share of the workspace
  // Of the process: before the model was loaded, after, and at most until the request was done.
  // What loading adds beyond the weights is the tokenizer and tables of the model.
  uint64_t rss_start_bytes = 0, rss_loaded_bytes = 0, rss_peak_bytes = 0;
  // Of the GPU, likewise, the whole arena included; nothing where there is none.
  std::optional<uint64_t> device_start_bytes, device_loaded_bytes, device_peak_bytes;
};

struct MemoryProbeOptions {
  std::string model_path, calibration_path, device = "auto";
  KvConfig config;
  int64_t tokens = 8192;  // of the prompt
  // Of the arena. On a CPU, pages that nothing was written to are not resident.
  uint64_t kv_capacity_bytes = uint64_t{1} << 30;
  int threads = 0;
};

// Call once in a process, before anything else that takes memory: the peak is the process's.
// Errors: of Engine::Create, Prepare and Submit.
absl::StatusOr<MemoryProbe> ProbeMemory(const MemoryProbeOptions& options);

}  // namespace kvpareto::tune
