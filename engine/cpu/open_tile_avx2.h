// Open tiles (bf16, f32), whole or partly filled, as granules of floats. Slots outside the piece's
// valid ones become zeros: what stands there may be NaN. Only for *_avx2.cc: everything is in an
// anonymous namespace (see vector_avx2.h).
#pragma once

#include "engine/cpu/tile_decode_avx2.h"

namespace kvpareto::cpu {
namespace {

// 8 pairs of neighbouring elements.
template <typename Element>
Pairs LoadPairs(const Element* from);
template <>
[[maybe_unused]] Pairs LoadPairs(const uint16_t* from) {
  return Bf16Pairs(LoadInts(from));
}
template <>
[[maybe_unused]] Pairs LoadPairs(const float* from) {
  const __m256 low = _mm256_loadu_ps(from), high = _mm256_loadu_ps(from + kLanes);
  const auto in_order = [](__m256 x) {  // quarters 0 2 1 3 of two shuffled halves
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xd8));
  };
  return {in_order(_mm256_shuffle_ps(low, high, 0x88)),
          in_order(_mm256_shuffle_ps(low, high, 0xdd))};
}

// Lanes [begin, end) of the 8 from slot `first` on.
[[maybe_unused]] inline __m256 KeepSlots(__m256 x, int first, int begin, int end) {
  const __m256i from = TailMask(begin - first), to = TailMask(end - first);
  return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_andnot_si256(from, to)));
}

template <typename Element>
void ReadOpenKeys(const AttentionTask& task, const TilePiece& piece, float* out) {
  const auto* row = reinterpret_cast<const Element*>(piece.k_tile(task.kv_head)) + 2 * piece.window;
  for (int r = 0; r < task.head_dim / 2; ++r, row += 2 * piece.layout->tile_tokens) {
    for (int t = 0; t < kv::kBlockTokens; t += kLanes) {
      Pairs values = {_mm256_setzero_ps(), _mm256_setzero_ps()};
      if (t < piece.end && t + kLanes > piece.begin) {
        values = LoadPairs(row + 2 * t);
        values = {KeepSlots(values.first, t, piece.begin, piece.end),
                  KeepSlots(values.second, t, piece.begin, piece.end)};
      }
      StorePairs(values, (r * kv::kBlockTokens + t) / 16, t / kLanes % 2, out);
    }
  }
}

template <typename Element>
void ReadOpenValues(const AttentionTask& task, const TilePiece& piece, float* out) {
  const auto* from = reinterpret_cast<const Element*>(piece.v_tile(task.kv_head)) +
                     static_cast<size_t>(piece.window) * task.head_dim;
  const auto valid = [&](int slot) { return slot >= piece.begin && slot < piece.end; };
  for (int t = 0; t < kv::kBlockTokens; t += 2, from += 2 * task.head_dim) {
    for (int c = 0; c < task.head_dim; c += kLanes) {
      Pairs values = {_mm256_setzero_ps(), _mm256_setzero_ps()};
      if (valid(t) || valid(t + 1)) values = LoadPairs(from + 2 * c);
      if (!valid(t)) values.first = _mm256_setzero_ps();
      if (!valid(t + 1)) values.second = _mm256_setzero_ps();
      StorePairs(values, (t / 2 * task.head_dim + c) / 16, c / kLanes % 2, out);
    }
  }
}

}  // namespace
}  // namespace kvpareto::cpu
