// One query row's step through the keys, in f32: which slots it sees, and its softmax. Shared by
// the per-ISA files; everything is in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include "engine/cpu/vector_rows_avx512.h"

namespace kvpareto::cpu {
namespace {

// Slots of a piece that a query reads.
struct Slots {
  int begin = 0;
  int end = 0;
};

inline Slots VisibleSlots(const AttentionTask& task, const TilePiece& piece, int position) {
  const int newest = position + 1 - piece.position;
  const int oldest = task.sliding_window > 0 ? newest - task.sliding_window : piece.begin;
  const Slots slots = {oldest > piece.begin ? oldest : piece.begin,
                       newest < piece.end ? newest : piece.end};
  return slots.begin < slots.end ? slots : Slots{};
}

inline void Fill(float x, int n, float* to) {
  for (int i = 0; i < n; i += 16) _mm512_storeu_ps(to + i, _mm512_set1_ps(x));
}

// Scores outside the visible slots become -inf.
inline void MaskScores(Slots slots, float* scores) {
  if (slots.begin == 0 && slots.end == kv::kBlockTokens) return;
  const __m512 minus_inf = _mm512_set1_ps(-__builtin_inff());
  for (int t = 0; t < kv::kBlockTokens; t += 16) {
    const __mmask16 visible = LaneMask(t, slots.begin, slots.end);
    _mm512_mask_storeu_ps(scores + t, static_cast<__mmask16>(~visible), minus_inf);
  }
}

// op over the vectors of n floats, a multiple of kBlockTokens, four chains at a time: one would
// wait for itself.
template <typename Load, typename Op>
[[gnu::always_inline]] inline __m512 Fold(int n, __m512 start, const Load& load, const Op& op) {
  static_assert(kTileVectors == 4);
  __m512 folded[kTileVectors] = {start, start, start, start};
  for (int i = 0; i < n; i += kv::kBlockTokens) {
#pragma GCC unroll 4
    for (int j = 0; j < kTileVectors; ++j) folded[j] = op(folded[j], load(i + 16 * j));
  }
  return op(op(folded[0], folded[1]), op(folded[2], folded[3]));
}

// Turns n scores of one head (a multiple of kBlockTokens) into probabilities relative to the
// state's new maximum, and brings the state up to it.
inline void Softmax(float* scores, int n, int head_dim, SoftmaxState& state) {
  const __m512 max = Fold(
      n, _mm512_set1_ps(state.m), [&](int i) { return _mm512_loadu_ps(scores + i); },
      [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
  const float m = _mm512_reduce_max_ps(max);
  if (m == -__builtin_inff()) return Fill(0.0f, n, scores);
  const __m512 log2e = _mm512_set1_ps(kLog2E);
  if (m > state.m) {
    const __m512 keep =
        Exp2(_mm512_mul_ps(_mm512_sub_ps(_mm512_set1_ps(state.m), _mm512_set1_ps(m)), log2e));
    for (int c = 0; c < head_dim; c += 16) {
      _mm512_storeu_ps(state.o + c, _mm512_mul_ps(_mm512_loadu_ps(state.o + c), keep));
    }
    state.d *= _mm512_cvtss_f32(keep);
    state.m = m;
  }
  const auto probabilities = [&](int i) {
    const __m512 score = _mm512_loadu_ps(scores + i);
    const __m512 p = Exp2(_mm512_mul_ps(_mm512_sub_ps(score, _mm512_set1_ps(m)), log2e));
    _mm512_storeu_ps(scores + i, p);
    return p;
  };
  const __m512 sum = Fold(n, _mm512_setzero_ps(), probabilities,
                          [](__m512 a, __m512 b) { return _mm512_add_ps(a, b); });
  state.d += _mm512_reduce_add_ps(sum);
}

}  // namespace
}  // namespace kvpareto::cpu
