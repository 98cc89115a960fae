// New K and V rows into bf16 tiles, 8 channels at a time. Same bits as FloatToBf16.
#include <cstring>

#include "engine/cpu/store_task.h"
#include "engine/cpu/vector_avx2.h"

namespace kvpareto::cpu {
namespace {

// bf16 in the upper half of every lane, rounded to nearest even; NaN stays NaN.
__m256i RoundToBf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(nan));
}

// 8 channels of one token as bf16, in order.
__m128i LoadBf16(const float* from) {
  const __m256i halves = _mm256_srli_epi32(RoundToBf16(_mm256_loadu_ps(from)), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}

// A token's pairs of channels stand one tile row apart each.
void StoreKeys(const StoreTask& task) {
  alignas(16) uint32_t pairs[4];
  for (int t = 0; t < task.tokens; ++t) {
    const float* const row = task.source + static_cast<size_t>(t) * task.source_stride;
    uint16_t* to = reinterpret_cast<uint16_t*>(task.tile) + 2 * (task.first_slot + t);
    for (int c = 0; c < task.head_dim; c += kLanes) {
      _mm_store_si128(reinterpret_cast<__m128i*>(pairs), LoadBf16(row + c));
      for (const uint32_t& pair : pairs) {
        std::memcpy(to, &pair, sizeof(pair));
        to += 2 * task.tile_tokens;
      }
    }
  }
}

// Both tokens of a pair.
void StorePair(const float* first, const float* second, int head_dim, uint16_t* to) {
  for (int c = 0; c < head_dim; c += kLanes, to += 2 * kLanes) {
    const __m256i low = _mm256_srli_epi32(RoundToBf16(_mm256_loadu_ps(first + c)), 16);
    const __m256i high = RoundToBf16(_mm256_loadu_ps(second + c));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_blend_epi16(low, high, 0xaa));
  }
}

// A token without its partner leaves the partner's slots alone.
void StoreSingle(const float* row, int head_dim, uint16_t* to) {
  alignas(16) uint16_t values[kLanes];
  for (int c = 0; c < head_dim; c += kLanes) {
    _mm_store_si128(reinterpret_cast<__m128i*>(values), LoadBf16(row + c));
    for (int i = 0; i < kLanes; ++i) to[2 * (c + i)] = values[i];
  }
}

void StoreValues(const StoreTask& task) {
  uint16_t* const tile = reinterpret_cast<uint16_t*>(task.tile);
  const int end = task.first_slot + task.tokens;
  for (int slot = task.first_slot; slot < end;) {
    const float* const row =
        task.source + static_cast<size_t>(slot - task.first_slot) * task.source_stride;
    uint16_t* const to = tile + static_cast<size_t>(slot / 2) * 2 * task.head_dim + slot % 2;
    const bool pair = slot % 2 == 0 && slot + 1 < end;
    if (pair) {
      StorePair(row, row + task.source_stride, task.head_dim, to);
    } else {
      StoreSingle(row, task.head_dim, to);
    }
    slot += pair ? 2 : 1;
  }
}

}  // namespace

void StoreTileAvx2(const StoreTask& task) {
  return task.role == kv::Role::kKey ? StoreKeys(task) : StoreValues(task);
}

}  // namespace kvpareto::cpu
