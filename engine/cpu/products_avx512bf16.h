// bf16 products on vectors: vdpbf16ps adds the products of 16 pairs to 16 f32 sums. Everything is
// in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kvpareto::cpu {
namespace {

inline constexpr int kStepDepth = 32;  // elements of a row of A, contiguous

// Sums of kRows rows times 16 * kVectors columns. They, the B vectors of a pair and one broadcast
// pair of A have to fit 32 registers; kRows * kVectors must cover the latency, some 6 products.
template <int kRows, int kVectors>
using Sums = __m512[kRows][kVectors];

// Two neighbouring elements of A in all lanes.
inline __m512bh BroadcastPair(const uint16_t* from) {
  int pair;
  std::memcpy(&pair, from, sizeof(pair));
  return (__m512bh)_mm512_set1_epi32(pair);
}

// sums += A B, kStepDepth deep. a: [kRows, kStepDepth]; b[j]: 16 pairs for each of kStepDepth / 2
// pairs of depth, row_bytes apart.
template <int kRows, int kVectors>
[[gnu::always_inline]] inline void MultiplyStep(const uint16_t* a,
                                                const std::byte* const (&b)[kVectors],
                                                size_t row_bytes, Sums<kRows, kVectors>& sums) {
  for (int pair = 0; pair < kStepDepth / 2; ++pair) {
    __m512bh columns[kVectors];
    for (int j = 0; j < kVectors; ++j) {
      columns[j] = (__m512bh)_mm512_loadu_si512(b[j] + pair * row_bytes);
    }
    for (int r = 0; r < kRows; ++r) {
      const __m512bh row = BroadcastPair(a + r * kStepDepth + 2 * pair);
      for (int j = 0; j < kVectors; ++j) {
        sums[r][j] = _mm512_dpbf16_ps(sums[r][j], row, columns[j]);
      }
    }
  }
}

}  // namespace
}  // namespace kvpareto::cpu
