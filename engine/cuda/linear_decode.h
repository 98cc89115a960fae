// Products of a few rows of activations with packed weights: bound by reading the weights once.
//
// The columns of a weight are cut into kColumnRanges ranges. A warp sums one range in order, and
// the ranges are added in a tree: an output's order of summation depends on the weight's shape
// alone, however many rows there are and however blocks share the work.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "engine/cuda/launch_queue.h"
#include "engine/cuda/packed_matrix.h"

namespace kvpareto::cuda {

inline constexpr int kColumnRanges = 8;

// RMS norm of a row before it is multiplied. No weight: none.
struct RowNorm {
  const float* weight = nullptr;  // [cols]
  float epsilon = 0.0f;
};

// y[t][r] (+)= norm(x[t]) . w[r] + bias[r]; with a gate
// y[t][r] = silu(norm(x[t]) . w[r]) * (norm(x[t]) . w[rows / 2 + r]).
// Activations are rounded to bf16, sums are float.
struct LinearDecodeParams {
  PackedMatrix w;
  float* y = nullptr;           // [tokens, y_stride], at this matrix's first column
  const float* bias = nullptr;  // of this matrix's rows, or null
  int tokens = 0;
  int y_stride = 0;
  int32_t accumulate = false;
  int32_t gated = false;  // whole panels of gates, then as many of what they gate
};

// One row.
struct LinearSingleParams {
  LinearDecodeParams linear;
  const float* x = nullptr;  // [w.cols]
  RowNorm norm;
};
void LaunchLinearSingle(const LinearSingleParams& params, LaunchQueue& queue);

// How several rows are shared among blocks: each has the activations of some of the ranges in
// shared memory and goes through panels of the weight.
struct BatchPlan {
  int tokens = 0;   // at a time
  int ranges = 0;   // of a block
  int splits = 0;   // blocks of a cluster, which share outputs: kColumnRanges / ranges
  int members = 0;  // strips that a cluster takes at a time: a set
  int panels = 0;   // of a strip
  int sets = 0;
  int clusters = 0;
  int buffers = 0;  // for sums of sets: 2 where a cluster has several
  size_t shared_bytes = 0;

  int warps() const { return ranges * members; }  // of a block
  // Of the cluster that has most.
  int most_panels() const { return (sets + clusters - 1) / clusters * members * panels; }
};
// For `tokens` > 1 rows or as many of them as shared memory allows, which may be 1.
BatchPlan PlanBatch(const PackedMatrix& w, int tokens, bool gated, const LaunchQueue& queue);

struct LinearBatchParams {
  LinearDecodeParams linear;
  // Activations as B operands: [tiles of 8 tokens, w.blocks, 4 steps, 32 lanes, 2 words].
  const uint32_t* x = nullptr;
  const float* x_sums = nullptr;  // [tiles, groups of columns, 8]
  BatchPlan plan;
};
void LaunchLinearBatch(const LinearBatchParams& params, LaunchQueue& queue);

// x [tokens, cols] as LinearBatchParams take it.
struct PackRowsParams {
  const float* x = nullptr;
  RowNorm norm;
  int tokens = 0;
  int cols = 0;
  int blocks = 0;  // of the weight
  int group = 0;   // columns; 0: no sums
  uint32_t* packed = nullptr;
  float* sums = nullptr;
};
// Of whole tiles: `tokens` is a multiple of 8.
size_t PackedRowsBytes(int tokens, const PackedMatrix& w);
size_t PackedSumsBytes(int tokens, const PackedMatrix& w);
void LaunchPackRows(const PackRowsParams& params, LaunchQueue& queue);

}  // namespace kvpareto::cuda
