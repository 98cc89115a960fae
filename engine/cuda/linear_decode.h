// Products of a few rows of activations with packed weights: bound by reading the weights once.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "engine/cuda/launch_queue.h"
#include "engine/cuda/packed_matrix.h"

namespace kvpareto::cuda {

inline constexpr int kMaxDecodeTokens = 64;

// y[t][first_col + r] (+)= x[t] . w[r] + bias[r]. Activations are rounded to bf16, sums are float.
// The order of summation of an output depends on the weight's shape alone.
struct LinearDecodeParams {
  PackedMatrix w;
  const float* x = nullptr;  // [tokens, w.cols]
  // The same as bf16 B operands: [tiles of 8 tokens, w.blocks, 4 steps, 32 lanes, 2 words]; only
  // read when there is more than one token (LaunchPackActivations).
  const uint32_t* packed_x = nullptr;
  float* y = nullptr;           // [tokens, y_stride], at this matrix's first column
  const float* bias = nullptr;  // of this matrix's rows, or null
  int tokens = 0;               // 1 .. kMaxDecodeTokens
  int y_stride = 0;
  int32_t accumulate = false;
  int groups = 0;  // of w; set by the launch
};
void LaunchLinearDecode(const LinearDecodeParams& params, LaunchQueue& queue);

// Bytes of packed_x, and its making: x [tokens, cols].
size_t PackedActivationBytes(int tokens, int blocks);
void LaunchPackActivations(const float* x, int tokens, int cols, int blocks, uint32_t* packed,
                           LaunchQueue& queue);

}  // namespace kvpareto::cuda
