#include "engine/base/float16.h"
#include "engine/cuda/attention_open.h"
#include "engine/kv/tile.h"

namespace kvpareto::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxHeadDim = 256;
constexpr int kWindow = kThreads / 2;  // keys at a time, two threads each

__device__ float Element(const std::byte* tile, bool wide, int element) {
  return wide ? reinterpret_cast<const float*>(tile)[element]
              : Bf16ToFloat(reinterpret_cast<const uint16_t*>(tile)[element]);
}

struct Row {
  float q[kMaxHeadDim];
  float bias_q[kMaxHeadDim];
  float score[kWindow];
};

// q . k of one key, summed by the two threads that share it.
__device__ float Score(const OpenAttentionParams& p, const OpenPiece& piece, const Row& row,
                       int head, int slot, bool key_bias, int position) {
  const std::byte* tile = piece.k + size_t(head) * piece.k_stride;
  float sum = 0.0f;
  for (int pair = threadIdx.x % 2; pair < p.head_dim / 2; pair += 2) {
    const int element = (pair * piece.tile_tokens + slot) * 2;
    sum += row.q[2 * pair] * Element(tile, piece.wide_k, element) +
           row.q[2 * pair + 1] * Element(tile, piece.wide_k, element + 1);
    if (key_bias) {
      float sine, cosine;
      sincosf(static_cast<float>(position) * p.frequency[pair], &sine, &cosine);
      sum += row.bias_q[pair] * cosine + row.bias_q[pair + p.head_dim / 2] * sine;
    }
  }
  return sum * p.scale;
}

// One block per query row and head.
__global__ void __launch_bounds__(kThreads) OpenAttentionKernel(OpenAttentionParams p) {
  __shared__ Row row;
  const int r = p.rows[blockIdx.x], head = blockIdx.y;
  const int kv_head = head / (p.heads / p.kv_heads);
  const OpenSequence sequence = p.sequences[p.row_sequence[blockIdx.x]];
  const int position = sequence.first_position + r - sequence.first_row;
  const int oldest = p.sliding_window > 0 ? max(0, position - p.sliding_window + 1) : 0;
  const int d = p.head_dim;
  for (int c = threadIdx.x; c < d; c += kThreads) {
    row.q[c] = p.q[size_t(r) * p.q_stride + head * d + c];
    if (sequence.key_bias) row.bias_q[c] = p.bias_q[size_t(r) * p.bias_stride + head * d + c];
  }
  __syncthreads();
  float m = -INFINITY, sum = 0.0f;
  float out[kMaxHeadDim / kThreads] = {};
  for (int i = 0; i < sequence.num_pieces; ++i) {
    const OpenPiece piece = p.pieces[sequence.first_piece + i];
    const int begin = max(0, oldest - piece.position);
    const int end = min(piece.num_tokens, position + 1 - piece.position);
    for (int first = begin; first < end; first += kWindow) {
      const int token = first + threadIdx.x / 2;
      float score = -INFINITY;
      if (token < end) {
        score = Score(p, piece, row, kv_head, piece.first_slot + token, sequence.key_bias,
                      piece.position + token);
      }
      score += __shfl_xor_sync(~0u, score, 1);
      __syncthreads();
      if (threadIdx.x % 2 == 0) row.score[threadIdx.x / 2] = score;
      __syncthreads();
      float largest = m;
      for (int j = 0; j < kWindow; ++j) largest = fmaxf(largest, row.score[j]);
      const float keep = expf(m - largest);
      m = largest;
      sum *= keep;
      for (float& o : out) o *= keep;
      const std::byte* tile = piece.v + size_t(kv_head) * piece.v_stride;
      for (int j = 0; j < min(kWindow, end - first); ++j) {
        const float weight = expf(row.score[j] - m);
        sum += weight;
        const int slot = piece.first_slot + first + j;
        for (int part = 0; part < kMaxHeadDim / kThreads; ++part) {
          const int c = threadIdx.x + part * kThreads;
          if (c < d) {
            out[part] +=
                weight * Element(tile, piece.wide_v,
                                 kv::ElementIndex(kv::Role::kValue, slot, c, piece.tile_tokens, d));
          }
        }
      }
    }
  }
  const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
  for (int part = 0; part < kMaxHeadDim / kThreads; ++part) {
    const int c = threadIdx.x + part * kThreads;
    if (c < d) p.out[size_t(r) * p.out_stride + head * d + c] = out[part] * inverse;
  }
}

}  // namespace

void LaunchOpenAttention(const OpenAttentionParams& p, LaunchQueue& queue) {
  if (p.num_rows == 0) return;
  queue.Add(OpenAttentionKernel, {dim3(p.num_rows, p.heads), kThreads, 0}, p);
}

}  // namespace kvpareto::cuda
