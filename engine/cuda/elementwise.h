// Row-wise kernels. All activations are float; rows are `stride` elements apart.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "engine/cuda/launch_queue.h"

namespace kvpareto::cuda {

struct RmsNormParams {
  const float* x = nullptr;       // [rows, cols]
  const float* weight = nullptr;  // [group]
  float* y = nullptr;             // [rows, cols], may be x
  int rows = 0;
  int cols = 0;
  int group = 0;  // columns normalised together
  int first = 0;  // columns [first, last) are normalised, the rest copied
  int last = 0;
  float epsilon = 0.0f;
};
void LaunchRmsNorm(const RmsNormParams& params, LaunchQueue& queue);

struct RopeParams {
  float* x = nullptr;  // [rows, stride]
  int rows = 0;
  int stride = 0;
  int first_col = 0;
  int heads = 0;
  int head_dim = 0;
  const int32_t* positions = nullptr;  // [rows]
  const float* frequency = nullptr;    // [head_dim / 2]
};
void LaunchRope(const RopeParams& params, LaunchQueue& queue);

// y [rows, cols] = silu(x[:, :cols]) * x[:, cols:]
void LaunchSiluMul(const float* x, float* y, int rows, int cols, LaunchQueue& queue);
// y row i = x row rows[i].
void LaunchGatherRows(const float* x, const int32_t* rows, float* y, int num_rows, int cols,
                      LaunchQueue& queue);
// y += bias on every row.
void LaunchAddBias(const float* bias, float* y, int rows, int cols, LaunchQueue& queue);
}  // namespace kvpareto::cuda
