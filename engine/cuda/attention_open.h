// Attention over open (bf16 or f32) tiles in plain float arithmetic: any head size, key bias,
// sliding windows. The path of what the tensor-core kernels do not take, and what they are tested
// against.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "engine/cuda/launch_queue.h"

namespace kvpareto::cuda {

// Consecutive tokens inside one open tile, of all KV heads.
struct OpenPiece {
  const std::byte* k = nullptr;  // tile of KV head 0
  const std::byte* v = nullptr;
  uint32_t k_stride = 0;  // bytes from head to head
  uint32_t v_stride = 0;
  int32_t wide_k = 0;  // f32 instead of bf16
  int32_t wide_v = 0;
  int32_t tile_tokens = 0;
  int32_t first_slot = 0;
  int32_t num_tokens = 0;
  int32_t position = 0;  // of first_slot's token
};

struct OpenSequence {
  int32_t first_row = 0;
  int32_t first_position = 0;
  int32_t first_piece = 0;
  int32_t num_pieces = 0;
  int32_t key_bias = 0;
};

struct OpenAttentionParams {
  const float* q = nullptr;
  const float* bias_q = nullptr;
  float* out = nullptr;
  int q_stride = 0;
  int bias_stride = 0;
  int out_stride = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  float scale = 0.0f;
  int sliding_window = 0;
  int num_rows = 0;
  const int32_t* rows = nullptr;          // [num_rows] of q and out, device
  const int32_t* row_sequence = nullptr;  // [num_rows]
  const OpenSequence* sequences = nullptr;
  const OpenPiece* pieces = nullptr;
  const float* frequency = nullptr;  // [head_dim / 2]
};
void LaunchOpenAttention(const OpenAttentionParams& params, LaunchQueue& queue);

}  // namespace kvpareto::cuda
