#include "engine/cuda/transform.h"

namespace kvpareto::cuda {
namespace {

constexpr int kRows = 8;  // that share one pass over a matrix
constexpr int kMaxHeadDim = 256;

// x [rows, d] in shared memory times `matrix` [d, d]; thread c makes column c.
__device__ void Multiply(const float (*x)[kMaxHeadDim], const float* matrix, int d,
                         float (&y)[kRows]) {
#pragma unroll
  for (float& v : y) v = 0.0f;
  for (int i = 0; i < d; ++i) {
    const float a = matrix[i * d + threadIdx.x];
#pragma unroll
    for (int r = 0; r < kRows; ++r) y[r] += x[r][i] * a;
  }
}

// RoPE of the bias [d] at `position`, column c.
__device__ float RotatedBias(const float* bias, const float* frequency, int position, int c,
                             int d) {
  const int pairs = d / 2, pair = c % pairs;
  float sine, cosine;
  sincosf(static_cast<float>(position) * frequency[pair], &sine, &cosine);
  const float first = bias[pair], second = bias[pair + pairs];
  return c < pairs ? first * cosine - second * sine : second * cosine + first * sine;
}

// What is done to the vectors of one head.
struct HeadWork {
  float* x = nullptr;  // of the first row
  const float* subtract = nullptr;
  const float* bias = nullptr;  // of keys: rotated and subtracted
  const float* matrix = nullptr;
  const float* add = nullptr;
};

__device__ void RunHead(const TransformParams& p, const HeadWork& work, int first_row) {
  __shared__ float x[kRows][kMaxHeadDim];
  const int c = threadIdx.x, d = p.head_dim;
  const int rows = min(kRows, p.rows - first_row);
  float* const at = work.x + size_t(first_row) * p.stride;
  float y[kRows];
  for (int r = 0; r < kRows; ++r) {
    float value = r < rows && c < d ? at[size_t(r) * p.stride + c] : 0.0f;
    if (c < d && r < rows) {
      if (work.bias != nullptr) {
        value -= RotatedBias(work.bias, p.frequency, p.positions[first_row + r], c, d);
      }
      if (work.subtract != nullptr) value -= work.subtract[c];
    }
    y[r] = value;
    if (c < d) x[r][c] = value;
  }
  __syncthreads();
  if (c >= d) return;
  if (work.matrix != nullptr) Multiply(x, work.matrix, d, y);
  for (int r = 0; r < rows; ++r) {
    at[size_t(r) * p.stride + c] = work.add == nullptr ? y[r] : y[r] + work.add[c];
  }
}

__device__ const float* Of(const float* pointer, int head, int size) {
  return pointer == nullptr ? nullptr : pointer + size_t(head) * size;
}

// [q1 b1 + q2 b2 | q2 b1 - q1 b2], from the query before its transform.
__device__ void MakeBiasQuery(const TransformParams& p, int head, const float* bias,
                              int first_row) {
  const int c = threadIdx.x, d = p.head_dim, pairs = d / 2;
  if (bias == nullptr || p.bias_q == nullptr || c >= pairs) return;
  for (int r = first_row; r < min(first_row + kRows, p.rows); ++r) {
    const float* q = p.qkv + size_t(r) * p.stride + head * d;
    float* to = p.bias_q + size_t(r) * p.bias_stride + head * d;
    const float q1 = q[c], q2 = q[c + pairs], b1 = bias[c], b2 = bias[c + pairs];
    to[c] = q1 * b1 + q2 * b2;
    to[c + pairs] = q2 * b1 - q1 * b2;
  }
}

// Blocks: groups of rows x (query heads, then key heads, then value heads).
__global__ void TransformKvKernel(const __grid_constant__ TransformParams p) {
  const TransformPointers& t = p.transform;
  const int d = p.head_dim, square = d * d, first_row = blockIdx.x * kRows;
  int head = blockIdx.y;
  if (head < p.heads) {
    const int kv_head = head / (p.heads / p.kv_heads);
    MakeBiasQuery(p, head, Of(t.key_bias, kv_head, d), first_row);
    __syncthreads();
    if (t.query_matrix == nullptr) return;
    RunHead(p, {.x = p.qkv + head * d, .matrix = Of(t.query_matrix, kv_head, square)}, first_row);
    return;
  }
  head -= p.heads;
  if (head < p.kv_heads) {
    RunHead(p,
            {.x = p.qkv + p.k_first_col + head * d,
             .subtract = Of(t.key_center, head, d),
             .bias = Of(t.key_bias, head, d),
             .matrix = Of(t.key_matrix, head, square)},
            first_row);
    return;
  }
  head -= p.kv_heads;
  RunHead(p,
          {.x = p.qkv + p.v_first_col + head * d,
           .subtract = Of(t.value_center, head, d),
           .matrix = Of(t.value_matrix, head, square)},
          first_row);
}

__global__ void TransformOutputKernel(const __grid_constant__ TransformParams p) {
  const int d = p.head_dim, head = blockIdx.y;
  const int kv_head = head / (p.heads / p.kv_heads);
  RunHead(p,
          {.x = p.qkv + head * d,
           .matrix = Of(p.transform.output_matrix, kv_head, d * d),
           .add = Of(p.transform.value_center, kv_head, d)},
          blockIdx.x * kRows);
}

int ThreadsFor(int head_dim) { return (head_dim + 31) / 32 * 32; }
int RowBlocks(int rows) { return (rows + kRows - 1) / kRows; }

}  // namespace

void LaunchTransformKv(const TransformParams& p, LaunchQueue& queue) {
  if (p.rows == 0) return;
  const dim3 grid(RowBlocks(p.rows), p.heads + 2 * p.kv_heads);
  queue.Add(TransformKvKernel, {grid, ThreadsFor(p.head_dim), 0}, p);
}

void LaunchTransformOutput(const TransformParams& p, LaunchQueue& queue) {
  if (p.rows == 0) return;
  queue.Add(TransformOutputKernel, {dim3(RowBlocks(p.rows), p.heads), ThreadsFor(p.head_dim), 0},
            p);
}

}  // namespace kvpareto::cuda
