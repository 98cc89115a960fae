// The key bias term in bf16 products. A float is a high bf16 part and a low one, to 2^-18 of it;
// the product of two floats is high x high + high x low + low x high, to 2^-17. Everything is in an
// anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include "engine/cpu/attention_operands_bf16.h"
#include "engine/cpu/key_bias_avx512.h"

namespace kvpareto::cpu {
namespace {

struct HighLow {
  __m512i high, low;  // 32 bf16 each: those of the first 16 floats, then those of the second
};

inline HighLow Split(__m512 first, __m512 second) {
  const auto widen = [](__m256i bf16) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
  };
  HighLow parts;
  parts.high = (__m512i)_mm512_cvtne2ps_pbh(second, first);
  parts.low = (__m512i)_mm512_cvtne2ps_pbh(
      _mm512_sub_ps(second, widen(_mm512_extracti64x4_epi64(parts.high, 1))),
      _mm512_sub_ps(first, widen(_mm512_castsi512_si256(parts.high))));
  return parts;
}

// [A | B] of the task's stacked rows as an A operand of high parts, then one of low ones, `part`
// elements apart.
template <int kRows>
void PackBiasRows(const AttentionTask& task, int rows, size_t part, uint16_t* to) {
  PackRows<kRows>(
      task, rows, [&](int row) { return BiasRow(task, row); },
      [to, part](size_t index, __m512 low, __m512 high) {
        const HighLow parts = Split(low, high);
        _mm512_storeu_si512(to + index, parts.high);
        _mm512_storeu_si512(to + part + index, parts.low);
      });
}

// Angles as B operands, [head_dim / 2, kBlockTokens] pairs of high parts, then of low ones.
inline void SplitAngles(const PieceAngles& angles, int head_dim, uint16_t* to) {
  alignas(64) static constexpr uint16_t kInterleave[32] = {
      0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i interleave = _mm512_load_si512(kInterleave);
  const int part = kv::kBlockTokens * head_dim;
  for (int r = 0; r < head_dim / 2; ++r) {
    for (int j = 0; j < kTileVectors; ++j, to += 2 * kAnglePositions) {
      const float* const from = angles.groups[j] + 2 * r * kAnglePositions;
      const HighLow parts = Split(_mm512_loadu_ps(from), _mm512_loadu_ps(from + kAnglePositions));
      _mm512_storeu_si512(to, _mm512_permutexvar_epi16(interleave, parts.high));
      _mm512_storeu_si512(to + part, _mm512_permutexvar_epi16(interleave, parts.low));
    }
  }
}

}  // namespace
}  // namespace kvpareto::cpu
