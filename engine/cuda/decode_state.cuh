// The running softmax of one warp over its share of keys, and how warps and blocks merge theirs.
#pragma once

#include "engine/cuda/attention_decode.h"
#include "engine/cuda/mma.cuh"

namespace kvpareto::cuda {

inline constexpr int kDecodeWarps = 4;
inline constexpr int kDecodeThreads = kDecodeWarps * 32;

// Queries in shared memory: [8 rows][D], padded so that the lanes of a warp, which read
// neighbouring pairs of channels of all rows, meet no bank twice.
template <int D>
struct alignas(16) QueryTile {
  static constexpr int kPitch = D + 8;
  float values[kDecodeRows * kPitch];

  // Channels 2 pair, 2 pair + 1.
  __device__ __forceinline__ float2 Pair(int row, int pair) const {
    return *reinterpret_cast<const float2*>(values + row * kPitch + 2 * pair);
  }
};

// The pair of channels of half `half` of step s for lane quarter q.
__device__ __forceinline__ int PairOf(int s, int half, int q) { return 8 * s + 4 * half + q; }

// Scores, in units of log2(e), and outputs are computed transposed: keys and channels are the rows
// of the products, the up to 8 query heads their columns. Lane 4 g + q holds queries 2 q and 2 q
// + 1.
template <int D>
struct DecodeState {
  float m[2] = {-INFINITY, -INFINITY};
  float base[2] = {};       // m, or 0 while there is nothing
  float l[2] = {};          // of the lane's own keys
  float o[D / 16][4] = {};  // [pair of channel tiles][first tile, two queries; second tile, ...]

  // Over the eight lanes that hold the same queries.
  static __device__ __forceinline__ float QueryMax(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 4));
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 8));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 16));
  }
  static __device__ __forceinline__ float QuerySum(float x) {
    x += __shfl_xor_sync(~0u, x, 4);
    x += __shfl_xor_sync(~0u, x, 8);
    return x + __shfl_xor_sync(~0u, x, 16);
  }

  // Raises the maxima to those of the scores and returns what earlier sums are scaled by.
  template <int kTiles>
  __device__ __forceinline__ float2 Raise(const float (&score)[kTiles][2]) {
    float keep[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float largest = score[0][e];
#pragma unroll
      for (int i = 1; i < kTiles; ++i) largest = fmaxf(largest, score[i][e]);
      const float raised = fmaxf(m[e], QueryMax(largest));
      base[e] = raised == -INFINITY ? 0.0f : raised;
      keep[e] = Exp2(m[e] - base[e]);
      m[e] = raised;
      l[e] *= keep[e];
    }
#pragma unroll
    for (auto& tile : o) {
#pragma unroll
      for (int c = 0; c < 4; ++c) tile[c] *= keep[c % 2];
    }
    return make_float2(keep[0], keep[1]);
  }
  __device__ __forceinline__ float Weight(float score, int e) const {
    return Exp2(score - base[e]);
  }
};

// Sums over the four lanes of query g, given to the lanes that hold queries 2q, 2q+1.
__device__ __forceinline__ float2 SumsOfQueries(float x, int q) {
  x += __shfl_xor_sync(~0u, x, 1);
  x += __shfl_xor_sync(~0u, x, 2);
  return make_float2(__shfl_sync(~0u, x, 8 * q), __shfl_sync(~0u, x, 8 * q + 4));
}

// Probabilities as the B operand of the product with values. `even` and `odd` are 16-bit pairs, for
// the lane's two queries, of its tokens t and t + 1; lanes 2 r and 2 r + 1 (by g) swap halves, so
// that their rows are neighbouring tokens, as pairs of values are stored. Afterwards lane (g, q)
// holds query g; first: tokens t, t + 1 of lanes g = 2q, second: those of g = 2q + 1.
struct Weights {
  uint32_t first;
  uint32_t second;
};
__device__ __forceinline__ Weights SwapAndTranspose(uint32_t even, uint32_t odd, int g) {
  const bool upper = g % 2 == 1;
  const uint32_t received = __shfl_xor_sync(~0u, upper ? even : odd, 4);
  return {Transpose(upper ? received : even), Transpose(upper ? odd : received)};
}

template <int D>
struct MergeBuffer {
  float m[kDecodeWarps][kDecodeRows];
  float l[kDecodeWarps][kDecodeRows];
  float o[kDecodeWarps][kDecodeRows][D];
  float weight[kDecodeRows][kMaxParts];
  float inverse[kDecodeRows];
  int last;
};

// Adds up the warps' states; then either writes the outputs, or stores the block's state, and the
// block that finishes last merges those of all parts, in order.
template <int D>
__device__ void MergeAndStore(const DecodeAttentionParams& p, const DecodeItem& item,
                              const DecodeSequence& sequence, MergeBuffer<D>& buffer) {
  const int group = p.heads / p.kv_heads, row_blocks = (group + kDecodeRows - 1) / kDecodeRows;
  const int kv_head = blockIdx.x / row_blocks, first_head = blockIdx.x % row_blocks * kDecodeRows;
  const int rows = min(kDecodeRows, group - first_head);
  float* const out =
      p.out + size_t(sequence.row) * p.out_stride + (kv_head * group + first_head) * D;
  // A part's state: rows of [D] sums, then m, then l.
  constexpr int kPartFloats = kDecodeRows * (D + 2);
  const auto part = [&](int index) {
    return p.partial + (size_t(index) * gridDim.x + blockIdx.x) * kPartFloats;
  };
  float* const own = part(sequence.first_item + item.part);
  __syncthreads();
  for (int i = threadIdx.x; i < rows * D; i += kDecodeThreads) {
    const int r = i / D, c = i % D;
    float m = -INFINITY, l = 0.0f, o = 0.0f;
#pragma unroll
    for (int w = 0; w < kDecodeWarps; ++w) m = fmaxf(m, buffer.m[w][r]);
#pragma unroll
    for (int w = 0; w < kDecodeWarps; ++w) {
      const float weight = buffer.m[w][r] == -INFINITY ? 0.0f : exp2f(buffer.m[w][r] - m);
      l += weight * buffer.l[w][r];
      o += weight * buffer.o[w][r][c];
    }
    if (sequence.num_items == 1) {
      out[i] = l > 0.0f ? o / l : 0.0f;
    } else {
      own[i] = o;
      if (c == 0) {
        own[kDecodeRows * D + r] = m;
        own[kDecodeRows * (D + 1) + r] = l;
      }
    }
  }
  if (sequence.num_items == 1) return;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    int32_t* counter = p.counters + item.sequence * gridDim.x + blockIdx.x;
    buffer.last = atomicAdd(counter, 1) == sequence.num_items - 1;
    if (buffer.last) *counter = 0;
  }
  __syncthreads();
  if (!buffer.last) return;
  __threadfence();
  // What each part counts, a row per warp; all loads of a lane are under way at once.
  constexpr int kLaneParts = kMaxParts / 32;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int r = warp; r < rows; r += kDecodeWarps) {
    float part_m[kLaneParts], part_l[kLaneParts];
#pragma unroll
    for (int n = 0; n < kLaneParts; ++n) {
      const int i = n * 32 + lane;
      const bool there = i < sequence.num_items;
      const float* const from = part(sequence.first_item + (there ? i : 0)) + kDecodeRows * D + r;
      part_m[n] = there ? __ldcg(from) : -INFINITY;
      part_l[n] = there ? __ldcg(from + kDecodeRows) : 0.0f;
    }
    float m = part_m[0];
#pragma unroll
    for (int n = 1; n < kLaneParts; ++n) m = fmaxf(m, part_m[n]);
    for (int offset = 16; offset > 0; offset /= 2) m = fmaxf(m, __shfl_xor_sync(~0u, m, offset));
    float sum = 0.0f;
#pragma unroll
    for (int n = 0; n < kLaneParts; ++n) {
      const float weight = part_m[n] == -INFINITY ? 0.0f : exp2f(part_m[n] - m);
      if (n * 32 + lane < sequence.num_items) buffer.weight[r][n * 32 + lane] = weight;
      sum += weight * part_l[n];
    }
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
    if (lane == 0) buffer.inverse[r] = sum > 0.0f ? 1.0f / sum : 0.0f;
  }
  __syncthreads();
  // Four channels per thread; the parts in order, many loads under way.
  constexpr int kAhead = 22;
  for (int i = threadIdx.x * 4; i < rows * D; i += kDecodeThreads * 4) {
    const int r = i / D;
    float4 o = {};
    for (int first = 0; first < sequence.num_items; first += kAhead) {
      float4 v[kAhead];
#pragma unroll
      for (int n = 0; n < kAhead; ++n) {
        const int index = min(first + n, sequence.num_items - 1);
        v[n] = __ldcg(reinterpret_cast<const float4*>(part(sequence.first_item + index) + i));
      }
#pragma unroll
      for (int n = 0; n < kAhead; ++n) {
        const float weight = first + n < sequence.num_items ? buffer.weight[r][first + n] : 0.0f;
        o.x += weight * v[n].x;
        o.y += weight * v[n].y;
        o.z += weight * v[n].z;
        o.w += weight * v[n].w;
      }
    }
    const float inverse = buffer.inverse[r];
    *reinterpret_cast<float4*>(out + i) =
        make_float4(o.x * inverse, o.y * inverse, o.z * inverse, o.w * inverse);
  }
}

}  // namespace kvpareto::cuda
