// A warp's share of open bf16 windows.
//
// The K tile is [D / 2][tokens][2], the V tile [tokens / 2][D][2]: a 32-bit word is already one
// register of the A operand of K Q^T or V^T P^T. Which token is which row of a tile of scores is
// free: the lanes of row g take the kTokens / 8 consecutive tokens from kTokens / 8 * g on, one per
// tile, so that they load them at once.
#pragma once

#include "engine/cuda/decode_state.cuh"

namespace kvpareto::cuda {

template <int kWords>
__device__ __forceinline__ void LoadWords(const std::byte* from, uint32_t (&to)[kWords]) {
  static_assert(kWords == 1 || kWords == 2 || kWords % 4 == 0);
  if constexpr (kWords == 1) {
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(to[0]) : "l"(from));
  } else if constexpr (kWords == 2) {
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "l"(from));
  } else {
#pragma unroll
    for (int i = 0; i < kWords; i += 4) {
      asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                   : "=r"(to[i]), "=r"(to[i + 1]), "=r"(to[i + 2]), "=r"(to[i + 3])
                   : "l"(from + 4 * i));
    }
  }
}

// kTokens: 16 or 32 at a time.
template <int D, int kTokens>
class OpenReader {
 public:
  static constexpr int kTiles = kTokens / 8;  // of 8 keys
  static constexpr int kSteps = D / 16;

  // The warp's sub-windows of kTokens slots: every kDecodeWarps-th of those of all windows. The
  // first is on its way to the L2 cache before the queries are there.
  // `sequence`: in device memory.
  __device__ OpenReader(const OpenWindow* windows, int num_windows, const DecodeSequence& sequence,
                        int kv_head)
      : lane_(threadIdx.x % 32),
        g_(lane_ / 4),
        q_(lane_ % 4),
        windows_(windows),
        count_(num_windows * kParts),
        places_(sequence.open),
        oldest_position_(sequence.oldest_position),
        kv_head_(kv_head) {
    const int warp = threadIdx.x / 32;
    if (warp < count_) Prefetch(windows_[warp / kParts], warp);
  }

  __device__ void Run(const QueryTile<D>& queries, DecodeState<D>& state) {
    RoundQueries(queries);
#pragma unroll 1
    for (int i = threadIdx.x / 32; i < count_; i += kDecodeWarps) {
      const OpenWindow window = windows_[i / kParts];
      const int first = SlotOf(i);
      if (first >= window.end || first + kTokens <= window.begin) continue;
      Add(window, first, oldest_position_, KeysOf(window), ValuesOf(window), state);
    }
  }

  // Output channel of row g of channel tile n.
  static __device__ __forceinline__ int ChannelOf(int n, int g) {
    return n / 4 * 32 + 4 * g + n % 4;
  }

 private:
  static constexpr int kParts = 64 / kTokens;

  // First slot of sub-window i, counted from its window's first.
  static __device__ __forceinline__ int SlotOf(int i) { return i % kParts * kTokens; }
  __device__ __forceinline__ const std::byte* KeysOf(const OpenWindow& window) const {
    const TilePlaces& places = places_[window.places];
    return window.data + places.k_offset + size_t(kv_head_) * places.k_stride;
  }
  __device__ __forceinline__ const std::byte* ValuesOf(const OpenWindow& window) const {
    const TilePlaces& places = places_[window.places];
    return window.data + places.v_offset + size_t(kv_head_) * places.v_stride;
  }

  // Sub-window i, which lies in `window`, is read soon. Whatever else is in its cache lines is of
  // no use and does no harm.
  __device__ __forceinline__ void Prefetch(const OpenWindow& window, int i) const {
    const int slot = window.first_slot + SlotOf(i);
    if (slot >= window.tile_tokens) return;
    const std::byte* const k = KeysOf(window) + 4 * slot;
    for (int pair = lane_; pair < D / 2; pair += 32) {
      PrefetchL2(k + size_t(pair) * window.tile_tokens * 4);
    }
    constexpr int kLine = 128;
    const std::byte* const v = ValuesOf(window) + size_t(slot / 2) * D * 4;
    const int bytes = min(kTokens, window.tile_tokens - slot) / 2 * D * 4;
    for (int at = lane_ * kLine; at < bytes; at += 32 * kLine) PrefetchL2(v + at);
  }

  __device__ __forceinline__ void RoundQueries(const QueryTile<D>& queries) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 x = queries.Pair(g_, PairOf(s, half, q_));
        high_[s][half] = PackBf16(x.x, x.y);
        const float2 rounded = UnpackBf16(high_[s][half]);
        low_[s][half] = PackBf16(x.x - rounded.x, x.y - rounded.y);
      }
    }
  }

  __device__ __forceinline__ void Add(const OpenWindow& window, int first, int oldest,
                                      const std::byte* k_tile, const std::byte* v_tile,
                                      DecodeState<D>& state) {
    // A tile may be shorter than what is read at once: the rest is read from its beginning, and
    // not used.
    const int slots = window.tile_tokens - window.first_slot - first;
    const int own = kTiles * g_;
    const std::byte* k = k_tile + 4 * (window.first_slot + (own < slots ? first + own : 0));
    uint32_t keys[kSteps][2][kTiles];
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int pair = PairOf(s, half, q_);
        LoadWords<kTiles>(k + size_t(pair) * window.tile_tokens * 4, keys[s][half]);
      }
    }
    uint32_t values[kTiles / 2][2][D / 8];
#pragma unroll
    for (int a = 0; a < kTiles / 2; ++a) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int slot = kTiles * (2 * q_ + e) + 2 * a;
        const int row = (window.first_slot + (slot < slots ? first + slot : 0)) / 2;
#pragma unroll
        for (int c = 0; c < D / 32; ++c) {
          uint32_t(&to)[4] = *reinterpret_cast<uint32_t(*)[4]>(&values[a][e][4 * c]);
          LoadWords<4>(v_tile + size_t(row) * D * 4 + c * 128 + g_ * 16, to);
        }
      }
    }
    // Both parts of the queries in turn over all keys: neighbouring products do not wait for each
    // other.
    float sum[kTiles / 2][4] = {};
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const uint32_t(&query)[2] = part == 0 ? high_[s] : low_[s];
#pragma unroll
        for (int a = 0; a < kTiles / 2; ++a) {
          const uint32_t rows[4] = {keys[s][0][2 * a], keys[s][0][2 * a + 1], keys[s][1][2 * a],
                                    keys[s][1][2 * a + 1]};
          MmaBf16(sum[a], rows, query[0], query[1]);
        }
      }
    }
    float score[kTiles][2];
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      score[i][0] = sum[i / 2][i % 2 * 2];
      score[i][1] = sum[i / 2][i % 2 * 2 + 1];
    }
    const bool whole =
        first >= window.begin && first + kTokens <= window.end && window.position + first >= oldest;
    const int begin = max(window.begin, oldest - window.position) - first, end = window.end - first;
    if (!whole) Mask(begin, end, score, values);
    state.Raise(score);
#pragma unroll
    for (int a = 0; a < kTiles / 2; ++a) {
      uint32_t p[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        p[h] = PackBf16(state.Weight(score[2 * a + h][0], 0), state.Weight(score[2 * a + h][1], 1));
        const float2 rounded = UnpackBf16(p[h]);
        state.l[0] += rounded.x;
        state.l[1] += rounded.y;
      }
      const Weights weights = SwapAndTranspose(p[0], p[1], g_);
#pragma unroll
      for (int n = 0; n < D / 8; n += 2) {
        const uint32_t rows[4] = {values[a][0][n], values[a][0][n + 1], values[a][1][n],
                                  values[a][1][n + 1]};
        MmaBf16(state.o[n / 2], rows, weights.first, weights.second);
      }
    }
  }

  // Slots outside [begin, end) may hold anything: their scores count as -inf, their values as zero.
  __device__ __forceinline__ void Mask(int begin, int end, float (&score)[kTiles][2],
                                       uint32_t (&values)[kTiles / 2][2][D / 8]) {
    const auto outside = [&](int slot) { return slot < begin || slot >= end; };
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      if (outside(kTiles * g_ + i)) score[i][0] = score[i][1] = -INFINITY;
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
#pragma unroll
      for (int a = 0; a < kTiles / 2; ++a) {
        const int slot = kTiles * (2 * q_ + e) + 2 * a;
        const uint32_t keep =
            (outside(slot) ? 0u : 0xffffu) | (outside(slot + 1) ? 0u : 0xffff0000u);
#pragma unroll
        for (uint32_t& word : values[a][e]) word &= keep;
      }
    }
  }

  const int lane_, g_, q_;
  const OpenWindow* const windows_;
  const int count_;  // of sub-windows of all warps
  const TilePlaces* const places_;
  const int oldest_position_;
  const int kv_head_;
  uint32_t high_[kSteps][2];  // queries as bf16
  uint32_t low_[kSteps][2];   // what rounding lost
};

}  // namespace kvpareto::cuda
