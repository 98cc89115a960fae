// The float side of attention's products with codes (a query, or probabilities) as integers times a
// step: of 16 bits for codes of 6 and 8 bits, of 8 for those of up to 4, whose own rounding is
// tens of times coarser still (docs/decisions/0007). Everything is in an anonymous namespace (see
// tile_decode_avx512.h).
#pragma once

#include "engine/cpu/vector_rows_avx512.h"

namespace kvpareto::cpu {
namespace {

// What the integers are multiplied with, and what they are of.
enum class FactorOf { kQuery, kProbabilities };
template <int kCodeBits, FactorOf kOf>
struct FactorKind {
  static constexpr bool kBytes = kCodeBits <= 4;
  static constexpr bool kSigned = kOf == FactorOf::kQuery || !kBytes;
  static constexpr float kLargest = !kBytes ? 32767.0f : kSigned ? 127.0f : 255.0f;
  // The middle of the codes. What rounding takes from a factor is multiplied with it, as if all
  // codes stood there: what is lost is only the product with each code's distance from it.
  static constexpr float kMiddle = 0.5f * ((1 << kCodeBits) - 1);
};
// The longest sum, over the channels of a head, of the largest code.
static_assert(int64_t{32767} * 255 * kMaxHeadDim < int64_t{1} << 31);
static_assert(kv::kBlockTokens <= kMaxHeadDim);

inline constexpr int kFactorHeads = 16;  // at once: the rows of an AMX tile
inline constexpr int kVectorHeads = 4;   // that fill the registers

// [heads, n] floats, `stride` apart, n a multiple of 16, each times scale[i].
struct FloatRows {
  const float* x = nullptr;
  int stride = 0;
  int n = 0;
  const std::byte* scale = nullptr;  // [n] fp16, or null: one
  const std::byte* zero = nullptr;   // [n] int16: zero points of the codes; null with scale
};

// Row h of x * scale is integers[h] * step[h] and what is left. With codes c:
//   sum of x * scale * (c - zero) = step[h] * sum of integers[h] * c - offset[h], or, without zero,
//   sum of x * (c - z)            = step[h] * sum of integers[h] * c + rest[h] - z * offset[h]
struct IntegerFactors {
  static constexpr int kRowBytes = sizeof(int16_t) * kMaxHeadDim;
  alignas(64) std::byte integers[kFactorHeads][kRowBytes];  // int16_t, int8_t or uint8_t
  alignas(64) float step[kFactorHeads];
  alignas(64) float offset[kFactorHeads];
  alignas(64) float rest[kFactorHeads];
};

// op over the lanes of x[h], in each of the four lanes of block h.
template <typename Op>
[[gnu::always_inline]] inline __m512 ReduceToBlocks(const __m512 (&x)[kVectorHeads], const Op& op) {
  const auto halve = [&](__m512 a, __m512 b) {
    return op(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  };
  const __m512 blocks = halve(halve(x[0], x[1]), halve(x[2], x[3]));
  const __m512 pairs = op(blocks, _mm512_permute_ps(blocks, 0x4e));
  return op(pairs, _mm512_permute_ps(pairs, 0xb1));
}

[[gnu::always_inline]] inline __m512 SumToBlocks(const __m512 (&x)[kVectorHeads]) {
  return ReduceToBlocks(x, [](__m512 a, __m512 b) { return _mm512_add_ps(a, b); });
}

// Lane h is that of block h.
[[gnu::always_inline]] inline __m128 OfBlocks(__m512 blocks) {
  const __m512i lanes = _mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12));
  return _mm512_castps512_ps128(_mm512_permutexvar_ps(lanes, blocks));
}

// 16 zero points.
[[gnu::always_inline]] inline __m512 LoadZeros(const std::byte* from) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}

// Four vectors of integers that fit into bytes, in order.
template <bool kSigned>
[[gnu::always_inline]] inline __m512i PackBytes(const __m512i* x) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i low = _mm512_packs_epi32(x[0], x[1]), high = _mm512_packs_epi32(x[2], x[3]);
  return _mm512_permutexvar_epi32(
      order, kSigned ? _mm512_packs_epi16(low, high) : _mm512_packus_epi16(low, high));
}

// Two vectors of integers that fit into 16 bits, in order.
[[gnu::always_inline]] inline __m512i PackWords(const __m512i* x) {
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  return _mm512_permutexvar_epi64(order, _mm512_packs_epi32(x[0], x[1]));
}

// Stores kCount (1 or 4) vectors of integers.
template <typename Kind, int kCount>
[[gnu::always_inline]] inline void StoreIntegers(const __m512i* x, int first, std::byte* row) {
  static_assert(kCount == 1 || kCount == 4);
  if constexpr (Kind::kBytes && kCount == 4) {
    _mm512_store_si512(row + first, PackBytes<Kind::kSigned>(x));
  } else if constexpr (Kind::kBytes) {
    _mm_store_si128(reinterpret_cast<__m128i*>(row + first), _mm512_cvtepi32_epi8(x[0]));
  } else if constexpr (kCount == 4) {
    _mm512_store_si512(row + 2 * first, PackWords(x));
    _mm512_store_si512(row + 2 * first + 64, PackWords(x + 2));
  } else {
    _mm256_store_si256(reinterpret_cast<__m256i*>(row + 2 * first), _mm512_cvtepi32_epi16(x[0]));
  }
}

// Heads [first, first + kHeads) of `rows`. kVectors: rows.n / 16, or 0: any.
template <typename Kind, bool kScaled, int kHeads, int kVectors>
[[gnu::noinline]] void RoundHeads(const FloatRows& rows, int first, IntegerFactors& to) {
  constexpr int kAtOnce = kVectors % 4 == 0 && kVectors > 0 ? 4 : 1;
  constexpr int kMaxVectors = kVectors == 0 ? kMaxHeadDim / 16 : kVectors;
  constexpr int kMaxMagnitude = 0x0b;  // of vrangeps: the larger magnitude, sign cleared
  const int vectors = kVectors == 0 ? rows.n / 16 : kVectors;
  const float* const x = rows.x + first * rows.stride;
  const __m512 middle = _mm512_set1_ps(Kind::kMiddle);
  __m512 products[kHeads][kMaxVectors];
  __m512 largest[kVectorHeads] = {}, offsets[kVectorHeads] = {}, rests[kVectorHeads] = {};
#pragma GCC unroll 8
  for (int i = 0; i < vectors; ++i) {
    const __m512 scale = kScaled ? LoadFloat16(rows.scale + 32 * i) : _mm512_setzero_ps();
    __m512 zero = kScaled ? LoadZeros(rows.zero + 32 * i) : _mm512_setzero_ps();
    if constexpr (Kind::kBytes) zero = _mm512_sub_ps(zero, middle);
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      __m512& product = products[h][i];
      product = _mm512_loadu_ps(x + h * rows.stride + 16 * i);
      if constexpr (kScaled) product = _mm512_mul_ps(product, scale);
      largest[h] = _mm512_range_ps(largest[h], product, kMaxMagnitude);
      offsets[h] =
          kScaled ? _mm512_fmadd_ps(product, zero, offsets[h]) : _mm512_add_ps(product, offsets[h]);
    }
  }
  const __m512 blocks =
      ReduceToBlocks(largest, [](__m512 a, __m512 b) { return _mm512_max_ps(a, b); });
  const __m512 limit = _mm512_set1_ps(Kind::kLargest);
  const __m512 inverse = _mm512_maskz_div_ps(
      _mm512_cmp_ps_mask(blocks, _mm512_setzero_ps(), _CMP_GT_OQ), limit, blocks);
  const __m512 steps = _mm512_mul_ps(blocks, _mm512_set1_ps(1.0f / Kind::kLargest));
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
    const __m512i block = _mm512_set1_epi32(4 * h);
    const __m512 by = _mm512_permutexvar_ps(block, inverse);
    __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 2
    for (int i = 0; i < vectors; i += kAtOnce) {
      __m512i integers[kAtOnce];
      for (int j = 0; j < kAtOnce; ++j) {
        integers[j] = _mm512_cvtps_epi32(_mm512_mul_ps(products[h][i + j], by));
        if constexpr (Kind::kBytes) sum = _mm512_add_epi32(sum, integers[j]);
      }
      StoreIntegers<Kind, kAtOnce>(integers, 16 * i, to.integers[first + h]);
    }
    if constexpr (!Kind::kBytes) continue;
    // The middle times what the integers add up to.
    const __m512 rounded = _mm512_mul_ps(
        _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_permutexvar_ps(block, steps)), middle);
    if constexpr (kScaled) {
      offsets[h] = _mm512_add_ps(offsets[h], rounded);
    } else {
      rests[h] = _mm512_fmsub_ps(offsets[h], middle, rounded);
    }
  }
  _mm_store_ps(to.step + first, OfBlocks(steps));
  _mm_store_ps(to.offset + first, OfBlocks(SumToBlocks(offsets)));
  if constexpr (!kScaled) _mm_store_ps(to.rest + first, OfBlocks(SumToBlocks(rests)));
}

// Calls fn.operator()<heads>() for 1 to kVectorHeads heads.
template <typename Fn>
[[gnu::always_inline]] inline void WithHeads(int heads, const Fn& fn) {
  switch (heads) {
    case 1:
      return fn.template operator()<1>();
    case 2:
      return fn.template operator()<2>();
    case 3:
      return fn.template operator()<3>();
    default:
      return fn.template operator()<kVectorHeads>();
  }
}

// Up to kFactorHeads heads.
template <typename Kind, bool kScaled>
void RoundFactors(const FloatRows& rows, int heads, IntegerFactors& to) {
  for (int first = 0; first < heads; first += kVectorHeads) {
    const int count = heads - first < kVectorHeads ? heads - first : kVectorHeads;
    WithHeads(count, [&]<int N>() {
      switch (rows.n) {
        case 64:
          return RoundHeads<Kind, kScaled, N, 4>(rows, first, to);
        case 128:
          return RoundHeads<Kind, kScaled, N, 8>(rows, first, to);
        default:
          return RoundHeads<Kind, kScaled, N, 0>(rows, first, to);
      }
    });
  }
}

}  // namespace
}  // namespace kvpareto::cpu
