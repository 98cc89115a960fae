// The two products of attention over rows of pairs, in f32, and the exponential. Shared by the
// per-ISA files; everything is in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include <immintrin.h>

#include "engine/cpu/prefetch_run.h"
#include "engine/cpu/tile_decode_avx512.h"

namespace kvpareto::cpu {
namespace {

inline constexpr float kLog2E = 1.44269504f;
inline constexpr int kTileVectors = kv::kBlockTokens / 16;

// 2^t for t <= 0, relative error below 2e-7; exactly 0 for -inf. 2^t = 2^floor(t) * 2^f with a
// minimax polynomial (relative error) for f in [0, 1).
inline __m512 Exp2(__m512 t) {
  const __m512 f = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_set1_ps(0.0018775781f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.0089893425f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.05582631f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.24015363f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.69315308f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.99999994f));
  return _mm512_scalef_ps(p, t);
}

// Lanes [begin, end) of the 16 that start at `first`.
inline __mmask16 LaneMask(int first, int begin, int end) {
  const int from = begin - first < 0 ? 0 : begin - first > 16 ? 16 : begin - first;
  const int to = end - first < 0 ? 0 : end - first > 16 ? 16 : end - first;
  return to > from ? static_cast<__mmask16>((1u << to) - (1u << from)) : __mmask16{0};
}

// Bytes of `rows` times `pairs` pairs of elements at kBits each.
template <int kBits>
constexpr size_t PairBytes(int pairs) {
  return static_cast<size_t>(pairs) * 2 * kBits / 8;
}

// scores[h][t] = sum over rows r of q[h][2r] * k[r][t].first + q[h][2r + 1] * k[r][t].second: keys
// against kHeads query vectors. scores: [kHeads, kBlockTokens], `stride` floats apart.
struct DotArgs {
  const std::byte* keys = nullptr;  // [rows, kBlockTokens] pairs
  PrefetchRun* ahead = nullptr;     // asked for meanwhile, or null
  size_t row_bytes = 0;
  int rows = 0;
  int tokens = kv::kBlockTokens;  // of bf16 keys maybe fewer, a multiple of 16: kLowWindows
  const float* q = nullptr;       // [heads, 2 * rows], q_stride floats apart
  int q_stride = 0;
  float* scores = nullptr;
  int stride = 0;
};

template <int kBits, int kHeads>
void DotRows(const DotArgs& args) {
  __m512 sums[kHeads][kTileVectors];
  for (auto& head : sums) {
    for (__m512& sum : head) sum = _mm512_setzero_ps();
  }
  const std::byte* keys = args.keys;
  const float* q = args.q;
  constexpr int kLines = PairBytes<kBits>(kv::kBlockTokens) / 64;
  const std::byte* ahead = args.ahead == nullptr ? nullptr : args.ahead->Take(kLines * args.rows);
  for (int r = 0; r < args.rows; ++r, keys += args.row_bytes, q += 2) {
    if (ahead != nullptr) ahead = PrefetchLines<kLines>(ahead);
    Pairs k[kTileVectors];
    Lanes<kBits>::template Load<kTileVectors>(keys, k);
    for (int h = 0; h < kHeads; ++h) {
      const __m512 first = _mm512_set1_ps(q[h * args.q_stride]);
      const __m512 second = _mm512_set1_ps(q[h * args.q_stride + 1]);
      for (int j = 0; j < kTileVectors; ++j) {
        sums[h][j] = _mm512_fmadd_ps(k[j].first, first, sums[h][j]);
        sums[h][j] = _mm512_fmadd_ps(k[j].second, second, sums[h][j]);
      }
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int j = 0; j < kTileVectors; ++j) {
      _mm512_storeu_ps(args.scores + h * args.stride + 16 * j, sums[h][j]);
    }
  }
}

// out[h][c] += sum over rows r of p[h][2r] * v[r][c].first + p[h][2r + 1] * v[r][c].second: values
// weighted by kHeads probability vectors, 16 * kVectors channels of them.
struct WeighArgs {
  const std::byte* values = nullptr;  // [rows, channels] pairs, at the first channel
  PrefetchRun* ahead = nullptr;       // as in DotArgs
  size_t row_bytes = 0;
  int rows = 0;
  const float* p = nullptr;  // [heads, 2 * rows], p_stride floats apart
  int p_stride = 0;
  float* out = nullptr;  // [heads, 16 * kVectors], out_stride floats apart
  int out_stride = 0;
};

template <int kBits, int kHeads, int kVectors>
void WeighRows(const WeighArgs& args) {
  __m512 sums[kHeads][kVectors];
  for (int h = 0; h < kHeads; ++h) {
    for (int j = 0; j < kVectors; ++j) {
      sums[h][j] = _mm512_loadu_ps(args.out + h * args.out_stride + 16 * j);
    }
  }
  const std::byte* values = args.values;
  const float* p = args.p;
  constexpr int kLines = PairBytes<kBits>(16 * kVectors) / 64;
  const std::byte* ahead = args.ahead == nullptr ? nullptr : args.ahead->Take(kLines * args.rows);
  for (int r = 0; r < args.rows; ++r, values += args.row_bytes, p += 2) {
    if (ahead != nullptr) ahead = PrefetchLines<kLines>(ahead);
    Pairs v[kVectors];
    Lanes<kBits>::template Load<kVectors>(values, v);
    for (int h = 0; h < kHeads; ++h) {
      const __m512 first = _mm512_set1_ps(p[h * args.p_stride]);
      const __m512 second = _mm512_set1_ps(p[h * args.p_stride + 1]);
      for (int j = 0; j < kVectors; ++j) {
        sums[h][j] = _mm512_fmadd_ps(v[j].first, first, sums[h][j]);
        sums[h][j] = _mm512_fmadd_ps(v[j].second, second, sums[h][j]);
      }
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int j = 0; j < kVectors; ++j) {
      _mm512_storeu_ps(args.out + h * args.out_stride + 16 * j, sums[h][j]);
    }
  }
}

// Any number of heads, four at a time: 16 sums and 8 loaded vectors fill the registers.
template <int kBits>
void DotHeads(DotArgs args, int heads) {
  for (; heads >= 4; heads -= 4) {
    DotRows<kBits, 4>(args);
    args.q += 4 * args.q_stride;
    args.scores += 4 * args.stride;
  }
  if (heads == 3) DotRows<kBits, 3>(args);
  if (heads == 2) DotRows<kBits, 2>(args);
  if (heads == 1) DotRows<kBits, 1>(args);
}

template <int kBits, int kVectors>
void WeighHeads(WeighArgs args, int heads) {
  for (; heads >= 4; heads -= 4) {
    WeighRows<kBits, 4, kVectors>(args);
    args.p += 4 * args.p_stride;
    args.out += 4 * args.out_stride;
  }
  if (heads == 3) WeighRows<kBits, 3, kVectors>(args);
  if (heads == 2) WeighRows<kBits, 2, kVectors>(args);
  if (heads == 1) WeighRows<kBits, 1, kVectors>(args);
}

// Any multiple of 16 channels that fills whole packing units (FitsUnits).
template <int kBits>
void WeighChannels(WeighArgs args, int heads, int channels) {
  const auto advance = [&](int done) {
    args.values += PairBytes<kBits>(done);
    args.out += done;
    channels -= done;
  };
  for (; channels >= 64; advance(64)) WeighHeads<kBits, 4>(args, heads);
  if constexpr (Lanes<kBits>::kMinCount <= 2) {
    for (; channels >= 32; advance(32)) WeighHeads<kBits, 2>(args, heads);
  }
  if constexpr (Lanes<kBits>::kMinCount == 1) {
    for (; channels >= 16; advance(16)) WeighHeads<kBits, 1>(args, heads);
  }
}

// Whether rows (or groups) of this many channels (a multiple of 16) begin and end at packing units.
constexpr bool FitsUnits(int bits, int channels) {
  const int unit_elements = bits == 4 ? kv::BitPacking<4>::kUnitElements
                                      : kv::BitPacking<2>::kUnitElements;  // that of 6 and 3 too
  return bits >= 8 || channels * 2 % unit_elements == 0;
}

}  // namespace
}  // namespace kvpareto::cpu
