// The transforms of keys, values, queries and outputs (ops/backend.h: TransformKv,
// TransformOutput).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "engine/cuda/launch_queue.h"

namespace kvpareto::cuda {

// As LayerTransform; device pointers.
struct TransformPointers {
  const float* key_bias = nullptr;
  const float* key_center = nullptr;
  const float* key_matrix = nullptr;
  const float* query_matrix = nullptr;
  const float* value_center = nullptr;
  const float* value_matrix = nullptr;
  const float* output_matrix = nullptr;
};

// Rows [0, rows) of x, which begin at column `first_col`, of `stride` elements.
struct TransformParams {
  TransformPointers transform;
  float* qkv = nullptr;     // or attention outputs
  float* bias_q = nullptr;  // [rows, heads * head_dim], or null
  int rows = 0;
  int stride = 0;
  int bias_stride = 0;
  int k_first_col = 0;
  int v_first_col = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  const int32_t* positions = nullptr;  // [rows], device
  const float* frequency = nullptr;    // [head_dim / 2], device
};
void LaunchTransformKv(const TransformParams& params, LaunchQueue& queue);
void LaunchTransformOutput(const TransformParams& params, LaunchQueue& queue);

}  // namespace kvpareto::cuda
