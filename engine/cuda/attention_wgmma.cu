// Flash attention after FlashAttention-3 (Shah et al., arXiv 2407.08608). A block takes 128 queries
// of one KV head: one warpgroup copies tiles of keys and values, two compute 64 rows each. A
// warpgroup issues the scores of a tile together with the outputs of the one before; while it is at
// its softmax, those and the products of the other one run. The paper has the two take turns in
// issuing; that is left out, it was slower by 2%.
#include "engine/cuda/attention_wgmma.h"
#include "engine/cuda/dense_tiles.h"
#include "engine/cuda/mma.cuh"
#include "engine/cuda/prefill_rows.cuh"
#include "engine/cuda/wgmma.cuh"

namespace kvpareto::cuda {
namespace {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
constexpr bool kHasWgmma = true;
#else
constexpr bool kHasWgmma = false;
#endif
__device__ const int has_wgmma = kHasWgmma;  // of the device's code, for the host to read

constexpr int kConsumers = 2;
constexpr int kGroupRows = 64;  // queries of a warpgroup
constexpr int kRows = kConsumers * kGroupRows;
constexpr int kThreads = (1 + kConsumers) * kWarpgroup;
constexpr int kStages = 2;
constexpr int kRowBytes = 128;  // of a slab
constexpr int kStepBytes = 32;  // of the 16 terms of a product

template <int D>
struct WgmmaShared {
  std::byte q[kConsumers][kGroupRows * D * 2];  // like dense tiles, of 64 rows
  std::byte k[kStages][DenseTileBytes(D)];
  std::byte v[kStages][DenseTileBytes(D)];
  Barrier k_there[kStages];
  Barrier k_free[kStages];
  Barrier v_there[kStages];
  Barrier v_free[kStages];
};

using Turn = RingPlace<kStages>;

// Tiles that some query of the block reads: [begin, end).
struct TileRange {
  int begin = 0;
  int end = 0;
};

template <int D>
__device__ void Produce(const WgmmaPrefillParams& p, TileRange tiles, WgmmaShared<D>& shared) {
  const std::byte* k = p.k + blockIdx.y * p.head_stride;
  const std::byte* v = p.v + blockIdx.y * p.head_stride;
  constexpr int kBytes = DenseTileBytes(D);
  Turn turn;
  for (int tile = tiles.begin; tile < tiles.end; ++tile, turn.Next()) {
    const size_t offset = size_t(tile) * kBytes;
    // A fresh barrier's phase of parity 1 counts as over.
    shared.k_free[turn.stage].Wait(turn.parity ^ 1);
    shared.k_there[turn.stage].Expect(kBytes);
    shared.k_there[turn.stage].Copy(shared.k[turn.stage], k + offset, kBytes);
    shared.v_free[turn.stage].Wait(turn.parity ^ 1);
    shared.v_there[turn.stage].Expect(kBytes);
    shared.v_there[turn.stage].Copy(shared.v[turn.stage], v + offset, kBytes);
  }
}

// The 64 rows of a consumer. A thread holds parts of rows g and g + 8 of its warp's 16; lanes 4 g
// to 4 g + 3 hold the same.
template <int D>
class ConsumerRows {
 public:
  __device__ ConsumerRows(const WgmmaPrefillParams& p, int consumer, WgmmaShared<D>& shared)
      : p_(p),
        shared_(shared),
        consumer_(consumer),
        first_((gridDim.x - 1 - blockIdx.x) * kRows + consumer * kGroupRows),
        thread_(threadIdx.x % kWarpgroup),
        q_(OperandOf(shared.q[consumer])) {
    const QueryRange range = RangeOf(p.rows, first_, kGroupRows);
    first_query_ = range.first_position;
    const int window = p.rows.sliding_window;
    last_oldest_ = max(p.first_key, window > 0 ? range.last_position - window + 1 : 0);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      newest_[e] = RowAt(p.rows, blockIdx.y, first_ + Row(e)).position;
      oldest_[e] = max(p.first_key, window > 0 ? newest_[e] - window + 1 : 0);
    }
  }

  __device__ void LoadQueries() {
    constexpr int kChunks = D / kChunkChannels, kLoads = kGroupRows * kChunks / kWarpgroup;
    // All loads first, to wait for them once. Rows that are none take the first one's values.
    float4 x[kLoads][2];
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      const int i = n * kWarpgroup + thread_, index = i / kChunks, chunk = i % kChunks;
      const QueryRow row = RowAt(p_.rows, blockIdx.y, first_ + index);
      const auto* from = reinterpret_cast<const float4*>(
          p_.rows.q + size_t(max(row.row, p_.rows.first_row)) * p_.rows.q_stride + row.head * D +
          chunk * kChunkChannels);
      x[n][0] = from[0];
      x[n][1] = from[1];
    }
    const float scale = p_.rows.scale * kLog2E;
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      const int i = n * kWarpgroup + thread_, index = i / kChunks, chunk = i % kChunks;
      const int place =
          chunk / 8 * kQuerySlabBytes + index * kRowBytes + (chunk % 8 ^ index % 8) * 16;
      const float4 a = x[n][0], b = x[n][1];
      *reinterpret_cast<uint4*>(shared_.q[consumer_] + place) =
          make_uint4(PackBf16(a.x * scale, a.y * scale), PackBf16(a.z * scale, a.w * scale),
                     PackBf16(b.x * scale, b.y * scale), PackBf16(b.z * scale, b.w * scale));
    }
    PublishShared();
    WaitAtBarrier(1 + consumer_, kWarpgroup);
  }

  __device__ void Run(TileRange tiles) {
    float score[kDenseTokens / 2];
    Turn turn, before;
    shared_.k_there[0].Wait(0);
    MultiplyKeys(turn, score);
    WaitForProducts<0>();
    Pin(score);
    Release(shared_.k_free[0]);
    (void)Weigh(tiles.begin, score);
    Round(score);
    turn.Next();
#pragma unroll 1
    for (int tile = tiles.begin + 1; tile < tiles.end; ++tile, turn.Next(), before.Next()) {
      shared_.k_there[turn.stage].Wait(turn.parity);
      MultiplyKeys(turn, score);
      shared_.v_there[before.stage].Wait(before.parity);
      MultiplyValues(before);
      WaitForProducts<1>();
      Pin(score);
      Release(shared_.k_free[turn.stage]);
      const bool raised = Weigh(tile, score);
      WaitForProducts<0>();
      Pin(out_);
      Release(shared_.v_free[before.stage]);
      Round(score);
      if (raised) Rescale();
    }
    shared_.v_there[before.stage].Wait(before.parity);
    MultiplyValues(before);
    WaitForProducts<0>();
    Pin(out_);
  }

  __device__ void Store() {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float sum = sum_[e];
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      const QueryRow row = RowAt(p_.rows, blockIdx.y, first_ + Row(e));
      if (row.row < 0) continue;
      const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
      float* to = p_.rows.out + size_t(row.row) * p_.rows.out_stride + row.head * D + Column();
#pragma unroll
      for (int j = 0; j < D / 8; ++j) {
        *reinterpret_cast<float2*>(to + 8 * j) =
            make_float2(out_[4 * j + 2 * e] * inverse, out_[4 * j + 2 * e + 1] * inverse);
      }
    }
  }

 private:
  static constexpr int kQuerySlabBytes = kGroupRows * kRowBytes;
  static constexpr int kSlabSteps = kRowBytes / kStepBytes;
  // A maximum is raised only when it is off by so many powers of two: weights stay below 2^8, and
  // late in a sequence outputs hardly ever have to be scaled.
  static constexpr float kSlack = 8.0f;
  static constexpr float kNone = -1e30f;  // below all scores; finite, so that differences are

  __device__ __forceinline__ int Row(int e) const {
    return thread_ / 32 * 16 + thread_ % 32 / 4 + 8 * e;
  }
  __device__ __forceinline__ int Column() const { return thread_ % 4 * 2; }

  __device__ __forceinline__ void Release(Barrier& barrier) const {
    if (thread_ % 32 == 0) barrier.Arrive();
  }

  // score [64, kDenseTokens] = queries keys^T.
  __device__ __forceinline__ void MultiplyKeys(Turn turn, float (&score)[kDenseTokens / 2]) {
    const uint64_t keys = OperandOf(shared_.k[turn.stage]);
    FenceProducts();
#pragma unroll
    for (int s = 0; s < D / 16; ++s) {
      const int slab = s / kSlabSteps, step = s % kSlabSteps * kStepBytes;
      Product64x128(score, Advance(q_, slab * kQuerySlabBytes + step),
                    Advance(keys, slab * kSlabBytes + step), s > 0);
    }
    CommitProducts();
  }

  // out += weights values.
  __device__ __forceinline__ void MultiplyValues(Turn turn) {
    const uint64_t values = OperandOf(shared_.v[turn.stage], kSlabBytes);
    FenceProducts();
#pragma unroll
    for (int s = 0; s < kDenseTokens / 16; ++s) {
      ProductTransposed64(out_, weights_ + 4 * s, Advance(values, s * 16 * kRowBytes));
    }
    CommitProducts();
  }

  // Scores of a tile to weights. True: the outputs up to the tile before are to be rescaled.
  __device__ __forceinline__ bool Weigh(int tile, float (&score)[kDenseTokens / 2]) {
    const int position = p_.dense_position + tile * kDenseTokens;
    if (position + kDenseTokens - 1 > first_query_ || position < last_oldest_) {
      Mask(position, score);
    }
    float largest[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      // Four at a time: a chain of maxima would wait for itself.
      float part[4] = {kNone, kNone, kNone, kNone};
#pragma unroll
      for (int i = 0; i < kDenseTokens / 4; ++i) {
        part[i % 4] = fmaxf(part[i % 4], score[i / 2 * 4 + 2 * e + i % 2]);
      }
      float x = fmaxf(fmaxf(part[0], part[1]), fmaxf(part[2], part[3]));
      x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
      largest[e] = fmaxf(x, __shfl_xor_sync(~0u, x, 2));
    }
    const bool raise =
        __any_sync(~0u, largest[0] > base_[0] + kSlack || largest[1] > base_[1] + kSlack);
    if (raise) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float raised = fmaxf(base_[e], largest[e]);
        keep_[e] = Exp2(base_[e] - raised);
        base_[e] = raised;
        sum_[e] *= keep_[e];
      }
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float part[4] = {};
#pragma unroll
      for (int i = 0; i < kDenseTokens / 4; ++i) {
        float& x = score[i / 2 * 4 + 2 * e + i % 2];
        x = Exp2(x - base_[e]);
        part[i % 4] += x;
      }
      sum_[e] += (part[0] + part[1]) + (part[2] + part[3]);
    }
    return raise;
  }

  __device__ __forceinline__ void Mask(int position, float (&score)[kDenseTokens / 2]) const {
#pragma unroll
    for (int i = 0; i < kDenseTokens / 2; ++i) {
      const int e = i / 2 % 2, key = position + i / 4 * 8 + Column() + i % 2;
      if (key > newest_[e] || key < oldest_[e]) score[i] = -INFINITY;
    }
  }

  // Accumulators of scores have the order of a product's operand in registers.
  __device__ __forceinline__ void Round(const float (&score)[kDenseTokens / 2]) {
#pragma unroll
    for (int i = 0; i < kDenseTokens / 4; ++i) {
      weights_[i] = PackBf16(score[2 * i], score[2 * i + 1]);
    }
  }

  __device__ __forceinline__ void Rescale() {
#pragma unroll
    for (int i = 0; i < D / 2; ++i) out_[i] *= keep_[i / 2 % 2];
  }

  const WgmmaPrefillParams& p_;
  WgmmaShared<D>& shared_;
  const int consumer_, first_, thread_;
  const uint64_t q_;
  int first_query_, last_oldest_;  // keys after the one, or before the other, some row does not see
  int newest_[2], oldest_[2];      // keys that the thread's rows see
  float base_[2] = {kNone, kNone};
  float sum_[2] = {};  // of the thread's own columns
  float keep_[2] = {};
  uint32_t weights_[kDenseTokens / 4];
  float out_[D / 2] = {};
};

template <int D>
__device__ void RunBlock(const WgmmaPrefillParams& p, WgmmaShared<D>& shared) {
  const QueryRange range = RangeOf(p.rows, (gridDim.x - 1 - blockIdx.x) * kRows, kRows);
  const TileRange tiles = {(max(range.oldest_key, p.first_key) - p.dense_position) / kDenseTokens,
                           (range.last_position - p.dense_position) / kDenseTokens + 1};
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      shared.k_there[i].Init(1);
      shared.v_there[i].Init(1);
      shared.k_free[i].Init(kConsumers * kWarpgroup / 32);
      shared.v_free[i].Init(kConsumers * kWarpgroup / 32);
    }
    PublishBarriers();
  }
  __syncthreads();
  if (threadIdx.x < kWarpgroup) {
    ShrinkRegisters<24>();
    if (threadIdx.x == 0) Produce<D>(p, tiles, shared);
  } else {
    GrowRegisters<240>();
    ConsumerRows<D> rows(p, threadIdx.x / kWarpgroup - 1, shared);
    rows.LoadQueries();
    rows.Run(tiles);
    rows.Store();
  }
}

// Grid: blocks of query rows (the last ones, which read the most, first) x KV heads.
template <int D>
__global__ void __launch_bounds__(kThreads, 1)
    WgmmaPrefillKernel(const __grid_constant__ WgmmaPrefillParams p) {
  if constexpr (kHasWgmma) {
    extern __shared__ __align__(1024) uint8_t bytes[];
    RunBlock<D>(p, *reinterpret_cast<WgmmaShared<D>*>(bytes));
  }
}

template <int D>
void Launch(const WgmmaPrefillParams& p, LaunchQueue& queue) {
  static const bool allowed =
      (AllowLargeShared(reinterpret_cast<const void*>(WgmmaPrefillKernel<D>)), true);
  (void)allowed;
  const int rows = p.rows.num_rows * (p.rows.heads / p.rows.kv_heads);
  queue.Add(WgmmaPrefillKernel<D>,
            {dim3((rows + kRows - 1) / kRows, p.rows.kv_heads), kThreads, sizeof(WgmmaShared<D>)},
            p);
}

}  // namespace

bool HasWgmmaPrefill() {
  int has = 0;
  return cudaMemcpyFromSymbol(&has, has_wgmma, sizeof(has)) == cudaSuccess && has != 0;
}

void LaunchWgmmaPrefill(int head_dim, const WgmmaPrefillParams& p, LaunchQueue& queue) {
  if (p.rows.num_rows == 0) return;
  head_dim == 64 ? Launch<64>(p, queue) : Launch<128>(p, queue);
}

}  // namespace kvpareto::cuda
