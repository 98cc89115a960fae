#include "engine/cuda/block_sum.cuh"
#include "engine/cuda/elementwise.h"
#include "engine/cuda/overlap.cuh"
#include "engine/cuda/rope.cuh"
#include "engine/cuda/silu.cuh"

namespace kvpareto::cuda {
namespace {

constexpr int kThreads = 256;

int BlocksFor(int64_t items, int threads) {
  return static_cast<int>((items + threads - 1) / threads);
}

// One block per row and group. Up to kKept columns per thread are read once, and the weights with
// them.
template <int kKept>
__global__ void RmsNormKernel(RmsNormParams p) {
  const int groups = (p.last - p.first) / p.group;
  const int64_t row = blockIdx.x / groups;
  const int begin = p.first + blockIdx.x % groups * p.group;
  const float* x = p.x + row * p.cols + begin;
  float* y = p.y + row * p.cols + begin;
  float kept[kKept], weight[kKept];
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int c = threadIdx.x + i * blockDim.x;
    weight[i] = c < p.group ? p.weight[c] : 0.0f;
  }
  BeginOverlapped();
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int c = threadIdx.x + i * blockDim.x;
    kept[i] = c < p.group ? x[c] : 0.0f;
  }
  float squares = 0.0f;
#pragma unroll
  for (const float value : kept) squares += value * value;
  for (int c = threadIdx.x + kKept * blockDim.x; c < p.group; c += blockDim.x) {
    squares += x[c] * x[c];
  }
  const float scale = rsqrtf(BlockSum(squares) / static_cast<float>(p.group) + p.epsilon);
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int c = threadIdx.x + i * blockDim.x;
    if (c < p.group) y[c] = kept[i] * scale * weight[i];
  }
  for (int c = threadIdx.x + kKept * blockDim.x; c < p.group; c += blockDim.x) {
    y[c] = x[c] * scale * p.weight[c];
  }
}

__global__ void CopyOutsideKernel(RmsNormParams p) {
  BeginOverlapped();
  const int outside = p.cols - (p.last - p.first);
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= int64_t{p.rows} * outside) return;
  const int64_t row = i / outside;
  const int c = static_cast<int>(i % outside);
  const int col = c < p.first ? c : c + p.last - p.first;
  p.y[row * p.cols + col] = p.x[row * p.cols + col];
}

// One thread per row, head and pair.
__global__ void RopeKernel(RopeParams p) {
  BeginOverlapped();
  const int pairs = p.head_dim / 2;
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= int64_t{p.rows} * p.heads * pairs) return;
  const int pair = static_cast<int>(i % pairs);
  const int head = static_cast<int>(i / pairs % p.heads);
  const int64_t row = i / pairs / p.heads;
  float* x = p.x + row * p.stride + p.first_col + head * p.head_dim;
  const float2 turned =
      Rotate(make_float2(x[pair], x[pair + pairs]), p.positions[row], p.frequency[pair]);
  x[pair] = turned.x;
  x[pair + pairs] = turned.y;
}

// Blocks: parts of a row x rows. kWide: four columns per thread.
template <bool kWide>
__global__ void SiluMulKernel(const float* x, float* y, int cols) {
  BeginOverlapped();
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * (kWide ? 4 : 1);
  if (c >= cols) return;
  const float* gate = x + int64_t{blockIdx.y} * 2 * cols + c;
  float* to = y + int64_t{blockIdx.y} * cols + c;
  if constexpr (kWide) {
    const float4 g = *reinterpret_cast<const float4*>(gate);
    const float4 u = *reinterpret_cast<const float4*>(gate + cols);
    *reinterpret_cast<float4*>(to) =
        make_float4(SiluMul(g.x, u.x), SiluMul(g.y, u.y), SiluMul(g.z, u.z), SiluMul(g.w, u.w));
  } else {
    *to = SiluMul(gate[0], gate[cols]);
  }
}

__global__ void GatherRowsKernel(const float* x, const int32_t* rows, float* y, int cols) {
  BeginOverlapped();
  const float* from = x + int64_t{rows[blockIdx.x]} * cols;
  float* to = y + int64_t{blockIdx.x} * cols;
  for (int c = threadIdx.x; c < cols; c += blockDim.x) to[c] = from[c];
}

__global__ void AddBiasKernel(const float* bias, float* y, int64_t elements, int cols) {
  BeginOverlapped();
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < elements) y[i] += bias[i % cols];
}

}  // namespace

void LaunchRmsNorm(const RmsNormParams& p, LaunchQueue& queue) {
  const int groups = (p.last - p.first) / p.group;
  const int threads = p.group < 512 ? 64 : 256;
  if (p.rows * groups == 0) return;
  const LaunchShape shape = {p.rows * groups, threads, 0, true};
  threads == 256 ? queue.Add(RmsNormKernel<16>, shape, p) : queue.Add(RmsNormKernel<4>, shape, p);
  const int64_t outside = int64_t{p.rows} * (p.cols - (p.last - p.first));
  if (p.x != p.y && outside > 0) {
    queue.Add(CopyOutsideKernel, {BlocksFor(outside, kThreads), kThreads, 0, true}, p);
  }
}

void LaunchRope(const RopeParams& p, LaunchQueue& queue) {
  const int64_t items = int64_t{p.rows} * p.heads * (p.head_dim / 2);
  if (items > 0) queue.Add(RopeKernel, {BlocksFor(items, kThreads), kThreads, 0, true}, p);
}

void LaunchSiluMul(const float* x, float* y, int rows, int cols, LaunchQueue& queue) {
  // At most 65535 rows in a grid's second dimension.
  constexpr int kMaxRows = 32768;
  for (int row = 0; row < rows; row += kMaxRows) {
    const unsigned count = min(kMaxRows, rows - row);
    const float* from = x + int64_t{row} * 2 * cols;
    float* to = y + int64_t{row} * cols;
    if (cols % 4 == 0) {
      queue.Add(SiluMulKernel<true>,
                {dim3(BlocksFor(cols / 4, kThreads), count), kThreads, 0, true}, from, to, cols);
    } else {
      queue.Add(SiluMulKernel<false>, {dim3(BlocksFor(cols, kThreads), count), kThreads, 0, true},
                from, to, cols);
    }
  }
}

void LaunchGatherRows(const float* x, const int32_t* rows, float* y, int num_rows, int cols,
                      LaunchQueue& queue) {
  if (num_rows > 0) queue.Add(GatherRowsKernel, {num_rows, kThreads, 0, true}, x, rows, y, cols);
}

void LaunchAddBias(const float* bias, float* y, int rows, int cols, LaunchQueue& queue) {
  const int64_t elements = int64_t{rows} * cols;
  if (elements == 0) return;
  queue.Add(AddBiasKernel, {BlocksFor(elements, kThreads), kThreads, 0, true}, bias, y, elements,
            cols);
}

}  // namespace kvpareto::cuda
