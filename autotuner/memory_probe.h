// The memory model held against measurement: one request of a given length, alone in a process.
#pragma once

#include <cstdint>
#include <string>

#include "autotuner/memory_model.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct MemoryProbe {
  TotalMemory predicted;
  uint64_t arena_peak_bytes = 0;     // of the request's extents, by the arena
  uint64_t measured_peak_bytes = 0;  // and its share of the workspace
  // What the process takes whatever the context: tokenizer, code, scratch of the backend's kernels.
  // Measured with a request of one chunk, as what is not predicted of it. On a GPU, whose memory is
  // no part of the process, this and the peak mean nothing.
  uint64_t fixed_bytes = 0;
  uint64_t rss_peak_bytes = 0;  // of the process, while the request ran
  // Of the GPU, where the engine runs on one, otherwise 0: what it took of it (weights, workspace,
  // scratch, the whole arena) on top of what the driver takes for a program that only opens the
  // device (`context`, measured before), and what the driver says is in use since the start.
  uint64_t device_context_bytes = 0;
  uint64_t device_predicted_bytes = 0, device_measured_bytes = 0;

  uint64_t predicted_rss_bytes() const { return fixed_bytes + predicted.total_bytes(); }
};

struct MemoryProbeOptions {
  std::string model_path, calibration_path, device = "auto";
  KvConfig config;
  int64_t tokens = 8192;  // of the prompt
  int threads = 0;
};

// The arena is just as large as the request needs, so that it is full when memory is measured: in a
// larger one extents need not stand close together. Call before anything else in the process that
// takes memory. Errors: of ModelFiles::Open, Engine::Create, Prepare and Submit.
absl::StatusOr<MemoryProbe> ProbeMemory(const MemoryProbeOptions& options);

}  // namespace kvpareto::tune
