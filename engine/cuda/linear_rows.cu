#include "engine/cuda/linear_rows.cuh"
#include "engine/cuda/overlap.cuh"

namespace kvpareto::cuda {
namespace {

// Blocks: tokens x parts of kKeptCols columns; rows that are normalised are one part.
__global__ void __launch_bounds__(kRowThreads) PackRowsKernel(PackRowsParams p, int part_cols) {
  extern __shared__ __align__(16) uint16_t row[];
  const int token = blockIdx.x, first_col = blockIdx.y * part_cols;
  const int padded = min(part_cols, p.blocks * kBlockCols - first_col);
  const int cols = min(padded, max(0, p.cols - first_col));
  float* const sums = reinterpret_cast<float*>(row + padded);
  float4 weight[kKeptQuads];
  LoadNorm(p.norm, 0, cols, weight);
  BeginOverlapped();
  RoundRow(p.x + size_t(token) * p.cols + first_col, cols, padded, p.norm, weight, row);
  __syncthreads();
  const int tile = token / 8, g = token % 8;
  const int steps = padded / kStepCols, first_step = first_col / kStepCols;
  uint2* const to =
      reinterpret_cast<uint2*>(p.packed) + (size_t(tile) * p.blocks * 4 + first_step) * 32 + g * 4;
  for (int i = threadIdx.x; i < steps * 4; i += kRowThreads) {
    to[size_t(i / 4) * 32 + i % 4] = reinterpret_cast<const uint2*>(row)[i];
  }
  if (p.group == 0) return;
  SumGroups(row, padded, p.group, sums);
  __syncthreads();
  const int groups = p.blocks * kBlockCols / p.group, first_group = first_col / p.group;
  for (int i = threadIdx.x; i < padded / p.group; i += kRowThreads) {
    p.sums[(size_t(tile) * groups + first_group + i) * 8 + g] = sums[i];
  }
}

}  // namespace

size_t PackedRowsBytes(int tokens, const PackedMatrix& w) {
  return size_t(tokens) * w.blocks * kBlockCols * sizeof(uint16_t);
}

size_t PackedSumsBytes(int tokens, const PackedMatrix& w) {
  return size_t(tokens) * w.groups() * sizeof(float);
}

void LaunchPackRows(const PackRowsParams& p, LaunchQueue& queue) {
  const int padded = p.blocks * kBlockCols;
  const bool whole = p.norm.weight != nullptr || p.cols % 4 != 0;
  const int part_cols = whole ? padded : min(padded, kKeptCols);
  const int parts = (padded + part_cols - 1) / part_cols;
  const size_t shared =
      part_cols * sizeof(uint16_t) + (p.group == 0 ? 0 : part_cols / p.group * sizeof(float));
  static const bool allowed =
      (AllowLargeShared(reinterpret_cast<const void*>(PackRowsKernel)), true);
  (void)allowed;
  queue.Add(PackRowsKernel, {dim3(p.tokens, parts), kRowThreads, shared, true}, p, part_cols);
}

}  // namespace kvpareto::cuda
