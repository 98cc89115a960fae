// Flash attention, transposed as in decode (decode_state.cuh): S^T = K Q^T, O^T = V^T P^T, so that
// words of the tiles are registers of the A operands as they are.
//
// A block takes 128 query rows of one KV head: positions x the heads of the group, positions
// slowest. Its four warps take 32 rows each and share the tiles in shared memory, the next one
// arriving while this one is used.
#include "engine/cuda/attention_prefill.h"
#include "engine/cuda/decode_state.cuh"
#include "engine/cuda/prefill_rows.cuh"

namespace kvpareto::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kQueryTiles = 4;  // of 8 rows per warp
constexpr int kRows = kWarps * kQueryTiles * 8;
constexpr int kKeys = 64;
constexpr int kHalf = 32;  // keys at a time

// Words of two bf16, so that the lanes of a warp meet no bank twice: rows of keys are padded, in
// rows of values the order of the 16-byte chunks depends on the row.
template <int D>
struct Tile {
  static constexpr int kKeyPitch = kKeys + 8;
  uint32_t k[D / 2 * kKeyPitch];  // [pair of channels][token]
  uint32_t v[kKeys / 2 * D];      // [pair of tokens][channel]

  static __device__ __forceinline__ int ValueAt(int pair, int channel) {
    return pair * D + ((channel / 4) ^ (pair / 4 % 4 * 2)) * 4 + channel % 4;
  }
};

template <int D>
struct PrefillShared {
  Tile<D> tiles[2];
  // B operands of the queries: [warp][step][pair of query tiles][lane][4 words].
  uint4 queries[kWarps][D / 16][kQueryTiles / 2][32];
};

template <int D>
__device__ void LoadQueries(const PrefillRows& p, int kv_head, int first,
                            PrefillShared<D>& shared) {
  constexpr int kItems = kWarps * (D / 16) * kQueryTiles * 32;
  for (int i = threadIdx.x; i < kItems; i += kThreads) {
    const int lane = i % 32, tile = i / 32 % kQueryTiles, step = i / 32 / kQueryTiles % (D / 16);
    const int warp = i / 32 / kQueryTiles / (D / 16);
    const QueryRow row = RowAt(p, kv_head, first + (warp * kQueryTiles + tile) * 8 + lane / 4);
    uint32_t words[2] = {};
    if (row.row >= 0) {
      const float* from = p.q + size_t(row.row) * p.q_stride + row.head * D;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 x = *reinterpret_cast<const float2*>(from + 2 * PairOf(step, half, lane % 4));
        words[half] = PackBf16(x.x * (p.scale * kLog2E), x.y * (p.scale * kLog2E));
      }
    }
    auto* to = reinterpret_cast<uint2*>(&shared.queries[warp][step][tile / 2][lane]) + tile % 2;
    *to = make_uint2(words[0], words[1]);
  }
}

// Copies a window's tile; slots that are not valid become zero.
template <int D>
__device__ void LoadTile(const PrefillWindow& window, int kv_head, Tile<D>& tile) {
  const auto* k = reinterpret_cast<const uint32_t*>(window.k + size_t(kv_head) * window.k_stride) +
                  window.first_slot;
  const auto* v = reinterpret_cast<const uint32_t*>(window.v + size_t(kv_head) * window.v_stride) +
                  window.first_slot / 2 * D;
  if (window.begin == 0 && window.end == kKeys) {
#pragma unroll 4
    for (int i = threadIdx.x; i < D / 2 * (kKeys / 4); i += kThreads) {
      const int pair = i / (kKeys / 4), chunk = i % (kKeys / 4) * 4;
      CopyAsync<16>(&tile.k[pair * Tile<D>::kKeyPitch + chunk],
                    k + size_t(pair) * window.tile_tokens + chunk);
    }
#pragma unroll 4
    for (int i = threadIdx.x; i < kKeys / 2 * (D / 4); i += kThreads) {
      const int pair = i / (D / 4), chunk = i % (D / 4) * 4;
      CopyAsync<16>(&tile.v[Tile<D>::ValueAt(pair, chunk)], v + size_t(pair) * D + chunk);
    }
    return;
  }
  const auto valid = [&](int slot) { return slot >= window.begin && slot < window.end; };
  for (int i = threadIdx.x; i < D / 2 * kKeys; i += kThreads) {
    const int pair = i / kKeys, token = i % kKeys;
    tile.k[pair * Tile<D>::kKeyPitch + token] =
        valid(token) ? k[size_t(pair) * window.tile_tokens + token] : 0;
  }
  for (int i = threadIdx.x; i < kKeys / 2 * D; i += kThreads) {
    const int pair = i / D, channel = i % D;
    uint32_t word = 0;
    if (valid(2 * pair) || valid(2 * pair + 1)) word = v[size_t(pair) * D + channel];
    if (!valid(2 * pair)) word &= 0xffff0000u;
    if (!valid(2 * pair + 1)) word &= 0xffffu;
    tile.v[Tile<D>::ValueAt(pair, channel)] = word;
  }
}

// The rows of one warp. Lane 4 g + q holds, of query tile n, rows 2 q and 2 q + 1.
template <int D>
class WarpRows {
 public:
  __device__ WarpRows(const PrefillRows& p, int kv_head, int first, int lane)
      : g_(lane / 4), q_(lane % 4) {
#pragma unroll
    for (int n = 0; n < kQueryTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        position_[n][e] = RowAt(p, kv_head, first + n * 8 + 2 * q_ + e).position;
      }
    }
  }

  // Keys [32 half, 32 half + 32) of the tile. `masked`: some rows do not see some of the keys.
  __device__ __forceinline__ void Add(const Tile<D>& tile,
                                      const uint4 (&queries)[D / 16][kQueryTiles / 2][32], int half,
                                      const PrefillWindow& window, int sliding_window,
                                      bool masked) {
    float score[2][kQueryTiles][4] = {};
#pragma unroll
    for (int s = 0; s < D / 16; ++s) {
      uint4 keys[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        keys[h] = *reinterpret_cast<const uint4*>(
            &tile.k[PairOf(s, h, q_) * Tile<D>::kKeyPitch + half * kHalf + 4 * g_]);
      }
      const uint32_t rows[2][4] = {{keys[0].x, keys[0].y, keys[1].x, keys[1].y},
                                   {keys[0].z, keys[0].w, keys[1].z, keys[1].w}};
#pragma unroll
      for (int n = 0; n < kQueryTiles; n += 2) {
        const uint4 query = queries[s][n / 2][4 * g_ + q_];
#pragma unroll
        for (int a = 0; a < 2; ++a) {
          MmaBf16(score[a][n], rows[a], query.x, query.y);
          MmaBf16(score[a][n + 1], rows[a], query.z, query.w);
        }
      }
    }
    if (masked) Mask(window, half, sliding_window, score);
    Weights weights[2][kQueryTiles];
#pragma unroll
    for (int n = 0; n < kQueryTiles; ++n) {
      Raise(n, score);
#pragma unroll
      for (int a = 0; a < 2; ++a) {
        uint32_t p[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const float first = Exp2(score[a][n][2 * h] - base_[n][0]);
          const float second = Exp2(score[a][n][2 * h + 1] - base_[n][1]);
          l_[n][0] += first;
          l_[n][1] += second;
          p[h] = PackBf16(first, second);
        }
        weights[a][n] = SwapAndTranspose(p[0], p[1], g_);
      }
    }
#pragma unroll
    for (int a = 0; a < 2; ++a) {
      // Token 4 r + 2 a of the half, for r = 2q and 2q + 1, and the one behind it.
      const int pair = half * (kHalf / 2) + 4 * q_ + a;
#pragma unroll
      for (int c = 0; c < D / 32; ++c) {
        const int channel = 32 * c + 4 * g_;
        const uint4 first =
            *reinterpret_cast<const uint4*>(&tile.v[Tile<D>::ValueAt(pair, channel)]);
        const uint4 second =
            *reinterpret_cast<const uint4*>(&tile.v[Tile<D>::ValueAt(pair + 2, channel)]);
        const uint32_t rows[2][4] = {{first.x, first.y, second.x, second.y},
                                     {first.z, first.w, second.z, second.w}};
#pragma unroll
        for (int n = 0; n < kQueryTiles; ++n) {
          MmaBf16(o_[2 * c][n], rows[0], weights[a][n].first, weights[a][n].second);
          MmaBf16(o_[2 * c + 1][n], rows[1], weights[a][n].first, weights[a][n].second);
        }
      }
    }
  }

  __device__ void Store(const PrefillRows& p, int kv_head, int first) {
#pragma unroll
    for (int n = 0; n < kQueryTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float l = DecodeState<D>::QuerySum(l_[n][e]);
        const QueryRow row = RowAt(p, kv_head, first + n * 8 + 2 * q_ + e);
        if (row.row < 0) continue;
        const float inverse = l > 0.0f ? 1.0f / l : 0.0f;
        float* to = p.out + size_t(row.row) * p.out_stride + row.head * D + 4 * g_;
#pragma unroll
        for (int c = 0; c < D / 32; ++c) {
          const float(&low)[4] = o_[2 * c][n];
          const float(&high)[4] = o_[2 * c + 1][n];
          *reinterpret_cast<float4*>(to + 32 * c) = make_float4(
              low[e] * inverse, low[2 + e] * inverse, high[e] * inverse, high[2 + e] * inverse);
        }
      }
    }
  }

 private:
  __device__ __forceinline__ void Mask(const PrefillWindow& window, int half, int sliding_window,
                                       float (&score)[2][kQueryTiles][4]) {
#pragma unroll
    for (int a = 0; a < 2; ++a) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int slot = half * kHalf + 4 * g_ + 2 * a + h;
        const bool valid = slot >= window.begin && slot < window.end;
        const int position = window.position + slot;
#pragma unroll
        for (int n = 0; n < kQueryTiles; ++n) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const int query = position_[n][e];
            const bool seen = valid && position <= query &&
                              (sliding_window == 0 || position > query - sliding_window);
            if (!seen) score[a][n][2 * h + e] = -INFINITY;
          }
        }
      }
    }
  }

  // Raises the maxima of query tile n to those of its scores; scales what has been summed up.
  __device__ __forceinline__ void Raise(int n, const float (&score)[2][kQueryTiles][4]) {
    float keep[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float largest = fmaxf(fmaxf(score[0][n][e], score[0][n][2 + e]),
                                  fmaxf(score[1][n][e], score[1][n][2 + e]));
      const float raised = fmaxf(m_[n][e], DecodeState<D>::QueryMax(largest));
      base_[n][e] = raised == -INFINITY ? 0.0f : raised;
      keep[e] = Exp2(m_[n][e] - base_[n][e]);
      m_[n][e] = raised;
      l_[n][e] *= keep[e];
    }
    // Late in a sequence maxima hardly ever move.
    if (!__any_sync(~0u, keep[0] != 1.0f || keep[1] != 1.0f)) return;
#pragma unroll
    for (int c = 0; c < D / 16; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) o_[c][n][i] *= keep[i % 2];
    }
  }

  const int g_, q_;
  int position_[kQueryTiles][2];
  float m_[kQueryTiles][2] = {{-INFINITY, -INFINITY},
                              {-INFINITY, -INFINITY},
                              {-INFINITY, -INFINITY},
                              {-INFINITY, -INFINITY}};
  float base_[kQueryTiles][2] = {};
  float l_[kQueryTiles][2] = {};
  float o_[D / 16][kQueryTiles][4] = {};  // channels 32 c + 4 g + 2 (c % 2) + ...: see Store
};

// Grid: blocks of query rows (the last ones, which read the most, first) x KV heads.
template <int D>
__global__ void __launch_bounds__(kThreads, 2) PrefillKernel(PrefillParams p) {
  extern __shared__ __align__(128) uint8_t bytes[];
  auto& shared = *reinterpret_cast<PrefillShared<D>*>(bytes);
  const int kv_head = blockIdx.y, first = (gridDim.x - 1 - blockIdx.x) * kRows;
  const QueryRange range = RangeOf(p.rows, first, kRows);
  const int sliding_window = p.rows.sliding_window;

  // Windows that some row of the block sees: the first that reaches beyond oldest_key up to the
  // last that begins by last_position.
  const auto first_where = [&](auto holds) {
    int low = 0, high = p.num_windows;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (holds(p.windows[middle])) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  };
  const int begin =
      first_where([&](const PrefillWindow& w) { return w.position + w.end > range.oldest_key; });
  const int end = first_where(
      [&](const PrefillWindow& w) { return w.position + w.begin > range.last_position; });

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_first = first + warp * kQueryTiles * 8;
  LoadQueries<D>(p.rows, kv_head, first, shared);
  WarpRows<D> rows(p.rows, kv_head, warp_first, lane);
  PrefillWindow window = p.windows[begin];
  LoadTile<D>(window, kv_head, shared.tiles[0]);
  CommitCopies();
#pragma unroll 1
  for (int w = begin; w < end; ++w) {
    PrefillWindow next;
    if (w + 1 < end) {
      next = p.windows[w + 1];
      LoadTile<D>(next, kv_head, shared.tiles[(w + 1 - begin) % 2]);
    }
    CommitCopies();
    WaitForCopies<1>();
    __syncthreads();
    const bool masked =
        window.begin > 0 || window.end < kKeys ||
        window.position + kKeys - 1 > range.first_position ||
        (sliding_window > 0 && window.position <= range.last_position - sliding_window);
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {
      rows.Add(shared.tiles[(w - begin) % 2], shared.queries[warp], half, window, sliding_window,
               masked);
    }
    __syncthreads();
    window = next;
  }
  rows.Store(p.rows, kv_head, warp_first);
}

template <int D>
void Launch(const PrefillParams& p, LaunchQueue& queue) {
  static const bool allowed =
      (AllowLargeShared(reinterpret_cast<const void*>(PrefillKernel<D>)), true);
  (void)allowed;
  const int rows = p.rows.num_rows * (p.rows.heads / p.rows.kv_heads);
  queue.Add(PrefillKernel<D>,
            {dim3((rows + kRows - 1) / kRows, p.rows.kv_heads), kThreads, sizeof(PrefillShared<D>)},
            p);
}

}  // namespace

bool HasPrefillKernel(int head_dim) { return head_dim == 64 || head_dim == 128; }

void LaunchPrefillAttention(int head_dim, const PrefillParams& p, LaunchQueue& queue) {
  if (p.rows.num_rows == 0 || p.num_windows == 0) return;
  head_dim == 64 ? Launch<64>(p, queue) : Launch<128>(p, queue);
}

}  // namespace kvpareto::cuda
