// Rows of activations on their way into a product: normalised if asked for, rounded to bf16, and
// summed over the groups of columns that share a weight's offset. The same code for one row and for
// many, so that a row's bits do not depend on how many there are.
#pragma once

#include "engine/cuda/block_sum.cuh"
#include "engine/cuda/linear_decode.h"
#include "engine/cuda/mma.cuh"

namespace kvpareto::cuda {

inline constexpr int kRowThreads = 256;
// Columns that a block holds in registers, as groups of four per thread.
inline constexpr int kKeptQuads = 4;
inline constexpr int kKeptCols = kKeptQuads * 4 * kRowThreads;

// Quads of columns of a thread, from column `first` on: quad i is at first + 4 (thread + i
// kRowThreads). Zero past `cols`.
template <int kQuads>
__device__ __forceinline__ void LoadQuads(const float* row, int first, int cols,
                                          float4 (&v)[kQuads]) {
  if (cols % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      const int c = first + (threadIdx.x + i * kRowThreads) * 4;
      v[i] = c < cols ? *reinterpret_cast<const float4*>(row + c) : float4{};
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    const int c = first + (threadIdx.x + i * kRowThreads) * 4;
    v[i] = make_float4(c < cols ? row[c] : 0.0f, c + 1 < cols ? row[c + 1] : 0.0f,
                       c + 2 < cols ? row[c + 2] : 0.0f, c + 3 < cols ? row[c + 3] : 0.0f);
  }
}

// The norm's weights at a thread's quads; ones without a norm.
template <int kQuads>
__device__ __forceinline__ void LoadNorm(const RowNorm& norm, int first, int cols,
                                         float4 (&weight)[kQuads]) {
  if (norm.weight != nullptr) return LoadQuads(norm.weight, first, cols, weight);
#pragma unroll
  for (float4& w : weight) w = make_float4(1.0f, 1.0f, 1.0f, 1.0f);
}

__device__ __forceinline__ float Squares(float4 v) {
  return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
}

template <int kQuads, typename Store>
__device__ __forceinline__ void StoreQuads(const float4 (&v)[kQuads], float scale,
                                           const float4 (&weight)[kQuads], int first, int padded,
                                           const Store& store) {
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    const int c = first + (threadIdx.x + i * kRowThreads) * 4;
    if (c >= padded) continue;
    store(c, make_uint2(PackBf16(v[i].x * scale * weight[i].x, v[i].y * scale * weight[i].y),
                        PackBf16(v[i].z * scale * weight[i].z, v[i].w * scale * weight[i].w)));
  }
}

// Calls store(c, columns c .. c + 3 as bf16) for the columns of x [cols], and zeros past them up to
// `padded`. `weight`: the norm's for the first quads, which may be read before earlier kernels have
// finished.
template <typename Store>
__device__ __forceinline__ void RoundRow(const float* x, int cols, int padded, const RowNorm& norm,
                                         const float4 (&weight)[kKeptQuads], const Store& store) {
  constexpr int kAhead = 5;
  float4 kept[kKeptQuads];
  LoadQuads(x, 0, cols, kept);
  float scale = 1.0f;
  if (norm.weight != nullptr) {
    float squares = 0.0f;
#pragma unroll
    for (const float4& v : kept) squares += Squares(v);
    for (int first = kKeptCols; first < cols; first += kAhead * 4 * kRowThreads) {
      float4 more[kAhead];
      LoadQuads(x, first, cols, more);
#pragma unroll
      for (const float4& v : more) squares += Squares(v);
    }
    scale = rsqrtf(BlockSum(squares) / static_cast<float>(cols) + norm.epsilon);
  }
  StoreQuads(kept, scale, weight, 0, padded, store);
  for (int first = kKeptCols; first < padded; first += kAhead * 4 * kRowThreads) {
    float4 more[kAhead], more_weight[kAhead];
    LoadQuads(x, first, cols, more);
    LoadNorm(norm, first, cols, more_weight);
    StoreQuads(more, scale, more_weight, first, padded, store);
  }
}

__device__ __forceinline__ float PairSum(uint32_t pair) {
  const float2 v = UnpackBf16(pair);
  return v.x + v.y;
}

__device__ __forceinline__ float QuadSum(uint2 quad) { return PairSum(quad.x) + PairSum(quad.y); }

// sums[g]: over columns [g * group, (g + 1) * group) of the rounded row, [cols / group].
__device__ __forceinline__ void SumGroups(const uint16_t* row, int cols, int group, float* sums) {
  const int steps = cols / kStepCols, per_group = group / kStepCols;
  for (int first = 0; first < steps; first += kRowThreads) {
    const int s = first + threadIdx.x;
    float sum = 0.0f;
    if (s < steps) {
      const uint4 a = reinterpret_cast<const uint4*>(row)[2 * s];
      const uint4 b = reinterpret_cast<const uint4*>(row)[2 * s + 1];
      sum = (QuadSum(make_uint2(a.x, a.y)) + QuadSum(make_uint2(a.z, a.w))) +
            (QuadSum(make_uint2(b.x, b.y)) + QuadSum(make_uint2(b.z, b.w)));
    }
    for (int offset = 1; offset < per_group; offset *= 2) {
      sum += __shfl_xor_sync(~0u, sum, offset);
    }
    if (s < steps && s % per_group == 0) sums[s / per_group] = sum;
  }
}

// The same by a warp that holds 32 neighbouring quads, a lane each: all lanes of a group get its
// sum, of the same bits. A group has a whole number of quads, a power of two up to 32.
__device__ __forceinline__ float GroupSumOfQuads(uint2 quad, int group) {
  float sum = QuadSum(quad);
  for (int offset = 1; offset < group / 4; offset *= 2) {
    sum += __shfl_xor_sync(~0u, sum, offset);
  }
  return sum;
}

}  // namespace kvpareto::cuda
