// The two products of attention on integer codes: the float side becomes 16-bit integers with one
// step per vector, codes are widened to 16 bits, and pairs meet in vpdpwssd. Sums are exact; the
// error is the rounding of the floats to 1/32767 of their largest, far below that of any code.
// Half the instructions of vector_rows_avx512.h, where codes become floats. Everything is in an
// anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include "engine/cpu/vector_rows_avx512.h"

namespace kvpareto::cpu {
namespace {

// Loads kCount consecutive granules of codes as 16-bit integers in element order. kCount is a
// multiple of kMinCount, the granules of one packing unit (kv/bit_packing.h).
template <int kBits>
struct Words;

inline __m512i LoadWords(const std::byte* from) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

template <>
struct Words<8> {
  static constexpr int kMinCount = 1;
  template <int kCount>
  static void Load(const std::byte* from, __m512i (&to)[kCount]) {
    for (int i = 0; i < kCount; ++i) to[i] = LoadWords(from + kGranule * i);
  }
};

template <int kBits>
struct PackedWords {
  static constexpr int kMinCount = 8 / kBits;
  template <int kCount>
  static void Load(const std::byte* from, __m512i (&to)[kCount]) {
    static_assert(kCount % kMinCount == 0);
    const __m512i mask = _mm512_set1_epi16((1 << kBits) - 1);
    for (int unit = 0; unit < kCount / kMinCount; ++unit) {
      const __m512i words = LoadWords(from + 32 * unit);
      for (int i = 0; i < kMinCount; ++i) {
        const __m512i codes = _mm512_srli_epi16(words, kBits * i);
        // Nothing is above the last ones.
        to[unit * kMinCount + i] = i + 1 < kMinCount ? _mm512_and_si512(codes, mask) : codes;
      }
    }
  }
};
template <>
struct Words<4> : PackedWords<4> {};
template <>
struct Words<2> : PackedWords<2> {};

template <>
struct Words<6> {
  static constexpr int kMinCount = 4;
  template <int kCount>
  static void Load(const std::byte* from, __m512i (&to)[kCount]) {
    static_assert(kCount % kMinCount == 0);
    const __m512i upper = _mm512_set1_epi16(0x30);
    for (int unit = 0; unit < kCount; unit += kMinCount, from += kv::BitPacking<6>::kUnitBytes) {
      __m512i low[kMinCount];
      Words<4>::Load(from, low);
      const __m512i high = _mm512_slli_epi16(LoadWords(from + kv::BitPacking<6>::kHighPlane), 4);
      for (int i = 0; i < kMinCount; ++i) {
        to[unit + i] =
            _mm512_or_si512(low[i], _mm512_and_si512(_mm512_srli_epi16(high, 2 * i), upper));
      }
    }
  }
};

template <>
struct Words<3> {
  static constexpr int kMinCount = 4;
  template <int kCount>
  static void Load(const std::byte* from, __m512i (&to)[kCount]) {
    static_assert(kCount % kMinCount == 0);
    const __m512i four = _mm512_set1_epi16(4);
    for (int unit = 0; unit < kCount; unit += kMinCount, from += kv::BitPacking<3>::kUnitBytes) {
      __m512i low[kMinCount];
      Words<2>::Load(from, low);
      for (int i = 0; i < kMinCount; ++i) {
        uint32_t high;  // a bit for each of the granule's 32 elements, in order
        std::memcpy(&high, from + kv::BitPacking<3>::kHighPlane + 4 * i, sizeof(high));
        to[unit + i] = _mm512_mask_add_epi16(low[i], _cvtu32_mask32(high), low[i], four);
      }
    }
  }
};

inline constexpr int kVectorHeads = 4;  // that fill the registers
inline constexpr int kLargestInteger = 32767;
// The longest sum, over the channels of a head, of the largest code.
static_assert(int64_t{kLargestInteger} * 255 * kMaxHeadDim < int64_t{1} << 31);
static_assert(kv::kBlockTokens <= kMaxHeadDim);

// Vectors of floats as integers times a step.
template <int kHeads>
struct IntegerVectors {
  alignas(64) int16_t values[kHeads][kMaxHeadDim];
  float step[kHeads];
};

// x: [heads, n], `stride` floats apart; n is a multiple of 16.
inline void ToIntegers(const float* x, int stride, int heads, int n, int16_t (*values)[kMaxHeadDim],
                       float* steps) {
  for (int h = 0; h < heads; ++h, x += stride) {
    __m512 largest_lanes = _mm512_setzero_ps();
    for (int i = 0; i < n; i += 16) {
      largest_lanes = _mm512_max_ps(largest_lanes, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
    }
    const float largest = _mm512_reduce_max_ps(largest_lanes);
    const __m512 inverse = _mm512_set1_ps(largest > 0.0f ? kLargestInteger / largest : 0.0f);
    steps[h] = largest / kLargestInteger;
    for (int i = 0; i < n; i += 16) {
      const __m512i integers = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), inverse));
      _mm256_store_si256(reinterpret_cast<__m256i*>(values[h] + i),
                         _mm512_cvtepi32_epi16(integers));
    }
  }
}

// Rows of code pairs; `next` as in DotArgs.
struct CodeRows {
  const std::byte* codes = nullptr;
  const std::byte* next = nullptr;
  size_t row_bytes = 0;
  int rows = 0;
};

// Calls store(h, j, sums): over rows r, x[h][2r] * codes[r][j].first + x[h][2r + 1] *
// codes[r][j].second, for vectors j of 16 lanes.
template <int kBits, int kHeads, int kVectors, typename Store>
void MultiplyCodes(const CodeRows& rows, const int16_t (*values)[kMaxHeadDim], const float* steps,
                   const Store& store) {
  __m512i sums[kHeads][kVectors];
  for (auto& head : sums) {
    for (__m512i& sum : head) sum = _mm512_setzero_si512();
  }
  for (int r = 0; r < rows.rows; ++r) {
    PrefetchRow<PairBytes<kBits>(16 * kVectors)>(rows.next, r * rows.row_bytes);
    __m512i words[kVectors];
    Words<kBits>::template Load<kVectors>(rows.codes + r * rows.row_bytes, words);
    for (int h = 0; h < kHeads; ++h) {
      int32_t pair;
      std::memcpy(&pair, values[h] + 2 * r, sizeof(pair));
      const __m512i both = _mm512_set1_epi32(pair);
      for (int j = 0; j < kVectors; ++j) {
        sums[h][j] = _mm512_dpwssd_epi32(sums[h][j], words[j], both);
      }
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    const __m512 step = _mm512_set1_ps(steps[h]);
    for (int j = 0; j < kVectors; ++j) {
      store(h, j, _mm512_mul_ps(_mm512_cvtepi32_ps(sums[h][j]), step));
    }
  }
}

// The same for 1 to kVectorHeads heads.
template <int kBits, int kVectors, typename Store>
void MultiplyCodes(const CodeRows& rows, const int16_t (*values)[kMaxHeadDim], const float* steps,
                   int heads, const Store& store) {
  switch (heads) {
    case 1:
      return MultiplyCodes<kBits, 1, kVectors>(rows, values, steps, store);
    case 2:
      return MultiplyCodes<kBits, 2, kVectors>(rows, values, steps, store);
    case 3:
      return MultiplyCodes<kBits, 3, kVectors>(rows, values, steps, store);
    default:
      return MultiplyCodes<kBits, kVectorHeads, kVectors>(rows, values, steps, store);
  }
}

// `Integers` multiplies vectors of at most kHeads heads with codes:
//   void Round(const float* x, int stride, int heads, int n)            as ToIntegers
//   void Multiply<kBits, kVectors>(const CodeRows&, heads, store)       as MultiplyCodes
struct VectorRows {
  static constexpr int kHeads = kVectorHeads;
  IntegerVectors<kHeads> x;

  void Round(const float* from, int stride, int heads, int n) {
    ToIntegers(from, stride, heads, n, x.values, x.step);
  }
  template <int kBits, int kVectors, typename Store>
  void Multiply(const CodeRows& rows, int heads, const Store& store) const {
    MultiplyCodes<kBits, kVectors>(rows, x.values, x.step, heads, store);
  }
};

// As DotHeads.
template <int kBits, typename Integers>
void DotCodes(DotArgs args, int heads, Integers& integers) {
  for (; heads > 0; heads -= Integers::kHeads) {
    const int count = heads < Integers::kHeads ? heads : Integers::kHeads;
    integers.Round(args.q, args.q_stride, count, 2 * args.rows);
    integers.template Multiply<kBits, kTileVectors>(
        {args.keys, args.next, args.row_bytes, args.rows}, count, [&](int h, int j, __m512 sums) {
          _mm512_storeu_ps(args.scores + h * args.stride + 16 * j, sums);
        });
    args.next = nullptr;
    args.q += Integers::kHeads * args.q_stride;
    args.scores += Integers::kHeads * args.stride;
  }
}

// Channels [first, last) of WeighCodeChannels, 16 * kVectors at a time; returns where it stopped.
template <int kBits, int kVectors, typename Integers>
int WeighCodeColumns(const WeighArgs& args, Integers& p, int heads, int first, int last) {
  for (; last - first >= 16 * kVectors; first += 16 * kVectors) {
    const size_t offset = PairBytes<kBits>(first);
    p.template Multiply<kBits, kVectors>(
        {args.values + offset, args.next == nullptr ? nullptr : args.next + offset, args.row_bytes,
         args.rows},
        heads, [&](int h, int j, __m512 sums) {
          float* const to = args.out + h * args.out_stride + first + 16 * j;
          _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), sums));
        });
  }
  return first;
}

// As WeighChannels.
template <int kBits, typename Integers>
void WeighCodeChannels(WeighArgs args, int heads, int channels, Integers& integers) {
  constexpr int kMinCount = Words<kBits>::kMinCount;
  for (; heads > 0; heads -= Integers::kHeads) {
    const int count = heads < Integers::kHeads ? heads : Integers::kHeads;
    integers.Round(args.p, args.p_stride, count, 2 * args.rows);
    int done = WeighCodeColumns<kBits, 4>(args, integers, count, 0, channels);
    if constexpr (kMinCount <= 2) {
      done = WeighCodeColumns<kBits, 2>(args, integers, count, done, channels);
    }
    if constexpr (kMinCount == 1) {
      done = WeighCodeColumns<kBits, 1>(args, integers, count, done, channels);
    }
    args.next = nullptr;
    args.p += Integers::kHeads * args.p_stride;
    args.out += Integers::kHeads * args.out_stride;
  }
}

}  // namespace
}  // namespace kvpareto::cpu
