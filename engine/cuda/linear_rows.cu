#include "engine/cuda/linear_rows.cuh"
#include "engine/cuda/overlap.cuh"

namespace kvpareto::cuda {
namespace {

// Columns of a block where rows are not normalised: a quad per thread.
constexpr int kPartCols = 4 * kRowThreads;

// Blocks: tokens x parts; rows that are normalised are one part. A thread's four columns of a row
// are what a lane has of a step of the B operand; a warp's are 128, whole groups.
__global__ void __launch_bounds__(kRowThreads) PackRowsKernel(PackRowsParams p, int part_cols) {
  LetNextKernelStart();
  const int token = blockIdx.x, first_col = blockIdx.y * part_cols;
  const int padded = min(part_cols, p.blocks * kBlockCols - first_col);
  const int cols = min(padded, max(0, p.cols - first_col));
  const int tile = token / 8, g = token % 8;
  const int groups = p.group == 0 ? 0 : p.blocks * kBlockCols / p.group;
  uint2* const to = reinterpret_cast<uint2*>(p.packed) + size_t(tile) * p.blocks * 4 * 32 + g * 4;
  float4 weight[kKeptQuads];
  LoadNorm(p.norm, 0, cols, weight);
  WaitForEarlierKernels();
  RoundRow(p.x + size_t(token) * p.cols + first_col, cols, padded, p.norm, weight,
           [&](int c, uint2 quad) {
             const int column = first_col + c;
             to[size_t(column / kStepCols) * 32 + column % kStepCols / 4] = quad;
             if (p.group == 0) return;
             const float sum = GroupSumOfQuads(quad, p.group);
             if (column % p.group != 0) return;
             p.sums[(size_t(tile) * groups + column / p.group) * 8 + g] = sum;
           });
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
  const int part_cols = whole ? padded : min(padded, kPartCols);
  const int parts = (padded + part_cols - 1) / part_cols;
  queue.Add(PackRowsKernel, {dim3(p.tokens, parts), kRowThreads, 0, true}, p, part_cols);
}

}  // namespace kvpareto::cuda
