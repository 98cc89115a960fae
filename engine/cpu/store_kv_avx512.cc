// New K and V rows into bf16 tiles, 16 channels at a time. Same bits as FloatToBf16.
#include <immintrin.h>

#include <cstring>

#include "engine/cpu/store_task.h"

namespace kvpareto::cpu {
namespace {

// bf16 in the upper half of every lane, rounded to nearest even; NaN stays NaN.
__m512i RoundToBf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
}

// A token's pairs of channels stand one tile row apart each.
void StoreKeys(const StoreTask& task) {
  alignas(64) uint32_t pairs[16];
  alignas(64) uint16_t upper_halves[32];
  for (int i = 0; i < 32; ++i) upper_halves[i] = 2 * i + 1;
  const __m512i upper = _mm512_load_si512(upper_halves);
  for (int t = 0; t < task.tokens; ++t) {
    const float* const row = task.source + static_cast<size_t>(t) * task.source_stride;
    uint16_t* to = reinterpret_cast<uint16_t*>(task.tile) + 2 * (task.first_slot + t);
    for (int c = 0; c < task.head_dim; c += 32) {
      const int left = task.head_dim - c;  // 16 or at least 32
      const __mmask16 second = left > 16 ? 0xffff : 0;
      const __m512i low = RoundToBf16(_mm512_loadu_ps(row + c));
      const __m512i high = RoundToBf16(_mm512_maskz_loadu_ps(second, row + c + 16));
      _mm512_store_si512(pairs, _mm512_permutex2var_epi16(low, upper, high));
      for (int i = 0; i < (second ? 16 : 8); ++i, to += 2 * task.tile_tokens) {
        std::memcpy(to, &pairs[i], sizeof(pairs[i]));
      }
    }
  }
}

// Tokens 2i and 2i + 1 interleave; a token without its partner leaves the partner's slots alone.
void StoreValues(const StoreTask& task) {
  const int end = task.first_slot + task.tokens;
  for (int slot = task.first_slot / 2 * 2; slot < end; slot += 2) {
    const bool first = slot >= task.first_slot;
    const bool second = slot + 1 < end;
    const float* const row =
        task.source + static_cast<ptrdiff_t>(slot - task.first_slot) * task.source_stride;
    uint16_t* const to =
        reinterpret_cast<uint16_t*>(task.tile) + static_cast<size_t>(slot) * task.head_dim;
    const __mmask32 written = (first ? 0x55555555u : 0u) | (second ? 0xaaaaaaaau : 0u);
    for (int c = 0; c < task.head_dim; c += 16) {
      __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
      if (first) low = _mm512_srli_epi32(RoundToBf16(_mm512_loadu_ps(row + c)), 16);
      if (second) high = RoundToBf16(_mm512_loadu_ps(row + task.source_stride + c));
      const __m512i lanes = _mm512_mask_mov_epi16(low, 0xaaaaaaaau, high);
      _mm512_mask_storeu_epi16(to + 2 * c, written, lanes);
    }
  }
}

}  // namespace

void StoreTileAvx512(const StoreTask& task) {
  return task.role == kv::Role::kKey ? StoreKeys(task) : StoreValues(task);
}

}  // namespace kvpareto::cpu
