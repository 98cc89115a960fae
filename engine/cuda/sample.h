// Choosing tokens from logits where they are (ops/sample.h), to the bit as on the host.
#pragma once

#include <cstdint>

#include "engine/cuda/device.h"
#include "engine/ops/backend.h"

namespace kvpareto::cuda {

// A SampleRow with its lists in device memory.
struct SampleJob {
  float* logits = nullptr;  // [vocab]
  float temperature = 0.0f;
  int32_t top_k = 0;
  float top_p = 1.0f;
  float min_logit_offset = 0.0f;  // MinLogitOffset
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  uint64_t random = 0;
  const uint32_t* seen = nullptr;  // null: none
  const TokenCount* counts = nullptr;
  const TokenBias* biases = nullptr;
  int32_t num_counts = 0;
  int32_t num_biases = 0;
  int32_t* token = nullptr;  // pinned host memory
};

struct SampleParams {
  const SampleJob* jobs = nullptr;  // device memory
  int32_t num_jobs = 0;
  int32_t vocab = 0;
};
void LaunchSample(const SampleParams& params, LaunchQueue& queue);

void RunSample(const SampleArgs& args, Device& device);

}  // namespace kvpareto::cuda
