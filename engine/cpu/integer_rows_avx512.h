// The two products of attention on integer codes: rows of codes times the integers that the float
// side became (integer_factors_avx512.h), exact. Codes of 6 and 8 bits are widened to 16 and meet
// 16-bit integers, a pair at a time (vpdpwssd); codes of up to 4 bits meet bytes, two rows of pairs
// at a time (vpdpbusd). A half or a quarter of the instructions of vector_rows_avx512.h, where
// codes become floats. Everything is in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include "engine/cpu/integer_factors_avx512.h"

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

template <>
struct Words<6> {
  static constexpr int kMinCount = 4;
  template <int kCount>
  static void Load(const std::byte* from, __m512i (&to)[kCount]) {
    static_assert(kCount % kMinCount == 0);
    const __m512i nibble = _mm512_set1_epi16(15), upper = _mm512_set1_epi16(0x30);
    for (int unit = 0; unit < kCount; unit += kMinCount, from += kv::BitPacking<6>::kUnitBytes) {
      const __m512i high = _mm512_slli_epi16(LoadWords(from + kv::BitPacking<6>::kHighPlane), 4);
      for (int i = 0; i < kMinCount; ++i) {
        const __m512i low = _mm512_srli_epi16(LoadWords(from + 32 * (i / 2)), 4 * (i % 2));
        to[unit + i] = _mm512_or_si512(_mm512_and_si512(low, nibble),
                                       _mm512_and_si512(_mm512_srli_epi16(high, 2 * i), upper));
      }
    }
  }
};

// Loads two rows of codes, 16 * kVectors pairs each, as bytes: four codes of a column, two of each
// row, in a 32-bit lane. Column() finds sums of 16 columns in order.
template <int kBits, int kVectors>
struct Quads;

template <>
struct Quads<4, 4> {
  static void Load(const std::byte* first, const std::byte* second, __m512i (&to)[4]) {
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i a = _mm512_loadu_si512(first), b = _mm512_loadu_si512(second);
    const __m512i low = _mm512_unpacklo_epi16(a, b), high = _mm512_unpackhi_epi16(a, b);
    to[0] = _mm512_and_si512(low, nibble);
    to[1] = _mm512_and_si512(high, nibble);
    to[2] = _mm512_and_si512(_mm512_srli_epi16(low, 4), nibble);
    to[3] = _mm512_and_si512(_mm512_srli_epi16(high, 4), nibble);
  }
  // Two units of two granules: columns 0-3 and 8-11 of each granule in an even vector, 4-7 and
  // 12-15 in the odd one behind it, and the units one after the other.
  static __m512i Column(const __m512i (&sums)[4], int j) {
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    const int low = j % 2 * 2;
    return _mm512_permutex2var_epi32(sums[low], j < 2 ? first : second, sums[low + 1]);
  }
};

// 32 bytes of two rows, pair by pair.
inline __m512i InterleavePairs(const std::byte* first, const std::byte* second) {
  const __m512i order =
      _mm512_setr_epi32(0x00100000, 0x00110001, 0x00120002, 0x00130003, 0x00140004, 0x00150005,
                        0x00160006, 0x00170007, 0x00180008, 0x00190009, 0x001a000a, 0x001b000b,
                        0x001c000c, 0x001d000d, 0x001e000e, 0x001f000f);
  const __m512i a =
      _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(first)));
  const __m512i both =
      _mm512_inserti64x4(a, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second)), 1);
  return _mm512_permutexvar_epi16(order, both);
}

// One packing unit of each row.
template <int kBits>
struct UnitQuads {
  static constexpr int kGranules = 8 / kBits;
  static void Load(const std::byte* first, const std::byte* second, __m512i (&to)[kGranules]) {
    const __m512i mask = _mm512_set1_epi8((1 << kBits) - 1);
    const __m512i quads = InterleavePairs(first, second);
    for (int i = 0; i < kGranules; ++i) {
      to[i] = _mm512_and_si512(_mm512_srli_epi16(quads, kBits * i), mask);
    }
  }
  static __m512i Column(const __m512i (&sums)[kGranules], int j) { return sums[j]; }
};
template <>
struct Quads<4, 2> : UnitQuads<4> {};
template <>
struct Quads<2, 4> : UnitQuads<2> {};

template <>
struct Quads<3, 4> {
  static void Load(const std::byte* first, const std::byte* second, __m512i (&to)[4]) {
    UnitQuads<2>::Load(first, second, to);
    const __m512i four = _mm512_set1_epi8(4);
    for (int i = 0; i < 4; ++i) {
      const uint64_t high = _pdep_u64(HighBits(first, i), 0x3333333333333333u) |
                            _pdep_u64(HighBits(second, i), 0xccccccccccccccccu);
      to[i] = _mm512_mask_add_epi8(to[i], _cvtu64_mask64(high), to[i], four);
    }
  }
  static __m512i Column(const __m512i (&sums)[4], int j) { return sums[j]; }

 private:
  // A bit for each of a granule's elements, in order.
  static uint32_t HighBits(const std::byte* row, int granule) {
    uint32_t bits;
    std::memcpy(&bits, row + kv::BitPacking<3>::kHighPlane + 4 * granule, sizeof(bits));
    return bits;
  }
};

// The granules of a packing unit.
template <int kBits>
inline constexpr int kUnitGranules = kBits == 8   ? 1
                                     : kBits == 4 ? 2
                                                  : 4;

// Rows of code pairs.
struct CodeRows {
  const std::byte* codes = nullptr;
  PrefetchRun* ahead = nullptr;  // as in DotArgs
  size_t row_bytes = 0;
  int rows = 0;  // even
};

// Four bytes of integers: two of 16 bits, or four.
[[gnu::always_inline]] inline __m512i BroadcastIntegers(const std::byte* from) {
  int32_t bytes;
  std::memcpy(&bytes, from, sizeof(bytes));
  return _mm512_set1_epi32(bytes);
}

// sums + products of pairs of 16 bits, or of four unsigned and four signed bytes, lane by lane: the
// instructions of _mm512_dpwssd_epi32 and _mm512_dpbusd_epi32, around which GCC 12 copies each sum
// twice.
[[gnu::always_inline]] inline __m512i AddWords(__m512i sums, __m512i a, __m512i b) {
  asm("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(a), "v"(b));
  return sums;
}
[[gnu::always_inline]] inline __m512i AddBytes(__m512i sums, __m512i u, __m512i s) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(u), "v"(s));
  return sums;
}

// sums[h][j]: over rows r, integers[h][2r] * codes[r][j].first + integers[h][2r + 1] *
// codes[r][j].second, for vectors j of 16 lanes. Not inlined: its loop needs all registers.
template <int kBits, FactorOf kOf, int kHeads, int kVectors>
[[gnu::noinline]] void MultiplyCodes(const CodeRows& rows,
                                     const std::byte (*integers)[IntegerFactors::kRowBytes],
                                     __m512i (*to)[kVectors]) {
  using Kind = FactorKind<kBits, kOf>;
  constexpr int kStep = Kind::kBytes ? 2 : 1;
  // Loops over sums are unrolled by hand: else GCC 12 keeps them in memory.
  __m512i sums[kHeads][kVectors];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums[h][j] = _mm512_setzero_si512();
  }
  constexpr int kLines = (PairBytes<kBits>(16 * kVectors) * kStep + 63) / 64;
  const std::byte* ahead =
      rows.ahead == nullptr ? nullptr : rows.ahead->Take(kLines * rows.rows / kStep);
  for (int r = 0; r < rows.rows; r += kStep) {
    const std::byte* const from = rows.codes + r * rows.row_bytes;
    if (ahead != nullptr) ahead = PrefetchLines<kLines>(ahead);
    __m512i codes[kVectors];
    if constexpr (Kind::kBytes) {
      Quads<kBits, kVectors>::Load(from, from + rows.row_bytes, codes);
    } else {
      Words<kBits>::template Load<kVectors>(from, codes);
    }
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      const __m512i x = BroadcastIntegers(integers[h] + (Kind::kBytes ? 2 : 4) * r);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        if constexpr (!Kind::kBytes) {
          sums[h][j] = AddWords(sums[h][j], codes[j], x);
        } else if constexpr (Kind::kSigned) {
          sums[h][j] = AddBytes(sums[h][j], codes[j], x);
        } else {
          sums[h][j] = AddBytes(sums[h][j], x, codes[j]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      if constexpr (Kind::kBytes) {
        to[h][j] = Quads<kBits, kVectors>::Column(sums[h], j);
      } else {
        to[h][j] = sums[h][j];
      }
    }
  }
}

// The same for heads [first, first + kHeads), to store(h, j, sums).
template <int kBits, FactorOf kOf, int kHeads, int kVectors, typename Store>
[[gnu::always_inline]] inline void MultiplyHeads(const CodeRows& rows, const IntegerFactors& x,
                                                 int first, const Store& store) {
  __m512i sums[kHeads][kVectors];
  MultiplyCodes<kBits, kOf, kHeads, kVectors>(rows, x.integers + first, sums);
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) store(first + h, j, sums[h][j]);
  }
}

template <int kBits, FactorOf kOf, int kVectors, typename Store>
[[gnu::always_inline]] inline void MultiplyOnVectors(const CodeRows& rows, const IntegerFactors& x,
                                                     int heads, const Store& store) {
  for (int first = 0; first < heads; first += kVectorHeads) {
    const int count = heads - first < kVectorHeads ? heads - first : kVectorHeads;
    WithHeads(
        count, [&]<int N>() __attribute__((always_inline)) {
          MultiplyHeads<kBits, kOf, N, kVectors>(rows, x, first, store);
        });
  }
}

// The factors of the tile at hand, and those of the tile behind it: rounding is a chain of steps
// that wait for each other, and done ahead it fills the time of this tile's products. No
// constructor runs.
class FactorSlots {
 public:
  void Begin() {
    now_ = 0;
    rounded_ = nullptr;
  }

  IntegerFactors& now() { return slots_[now_]; }
  const IntegerFactors& now() const { return slots_[now_]; }

  // Rounds `heads` rows of x, unless it was done ahead, and then, if not null, those that follow.
  template <typename Kind, bool kScaled>
  void Round(const FloatRows& x, const FloatRows* following, int heads) {
    if (kScaled && rounded_ == x.scale) {
      now_ ^= 1;
    } else {
      RoundFactors<Kind, kScaled>(x, heads, now());
    }
    rounded_ = nullptr;
    if (!kScaled || following == nullptr) return;
    RoundFactors<Kind, kScaled>(*following, heads, slots_[now_ ^ 1]);
    rounded_ = following->scale;
  }

 private:
  IntegerFactors slots_[2];
  int now_;
  const std::byte* rounded_;  // scales of what the other slot holds; null: of nothing
};

// `Integers` multiplies up to kFactorHeads rows of integers with codes:
//   FactorSlots x                                                          set before
//   void Multiply<kBits, kOf, kVectors>(const CodeRows&, heads, store)     as MultiplyOnVectors
struct VectorRows {
  FactorSlots x;

  template <int kBits, FactorOf kOf, int kVectors, typename Store>
  void Multiply(const CodeRows& rows, int heads, const Store& store) const {
    MultiplyOnVectors<kBits, kOf, kVectors>(rows, x.now(), heads, store);
  }
};

// A head's sums over 16 lanes of codes (IntegerFactors).
struct CodeSums {
  __m512 lanes;
  const IntegerFactors& x;
  int head;

  // Where the factors had zero points.
  __m512 Centred() const {
    return _mm512_fmsub_ps(lanes, _mm512_set1_ps(x.step[head]), _mm512_set1_ps(x.offset[head]));
  }
  // Where each lane has its own.
  __m512 Centred(__m512 zero) const {
    const __m512 sum =
        _mm512_fmadd_ps(lanes, _mm512_set1_ps(x.step[head]), _mm512_set1_ps(x.rest[head]));
    return _mm512_fnmadd_ps(zero, _mm512_set1_ps(x.offset[head]), sum);
  }
};

// Calls multiply(first, count) for as many heads at a time as there is room for, rounded. If it is
// for all, `following` (or null) is rounded with them.
template <typename Kind, bool kScaled, typename Integers, typename Multiply>
void ForRoundedHeads(Integers& integers, FloatRows x, const FloatRows* following, int heads,
                     const Multiply& multiply) {
  for (int first = 0; first < heads; first += kFactorHeads) {
    const int count = heads - first < kFactorHeads ? heads - first : kFactorHeads;
    integers.x.template Round<Kind, kScaled>(x, count == heads ? following : nullptr, count);
    multiply(first, count);
    x.x += kFactorHeads * x.stride;
  }
}

// Calls store(head, column, CodeSums) for the kBlockTokens columns of keys' codes. `following`: q
// with the scales of the tile behind this one, or null.
template <int kBits, bool kScaled, typename Integers, typename Store>
void DotCodes(Integers& integers, const FloatRows& q, const FloatRows* following,
              const CodeRows& rows, int heads, const Store& store) {
  constexpr FactorOf kOf = FactorOf::kQuery;
  ForRoundedHeads<FactorKind<kBits, kOf>, kScaled>(
      integers, q, following, heads, [&](int first, int count) {
        integers.template Multiply<kBits, kOf, kTileVectors>(
            rows, count, [&](int h, int j, __m512i sums) {
              store(first + h, 16 * j, CodeSums{_mm512_cvtepi32_ps(sums), integers.x.now(), h});
            });
      });
}

// Columns [first, last), 16 * kVectors at a time; returns where it stopped. Calls store(head,
// column, sums).
template <int kBits, int kVectors, typename Integers, typename Store>
int WeighColumns(Integers& integers, const CodeRows& rows, int heads, int first, int last,
                 const Store& store) {
  for (; last - first >= 16 * kVectors; first += 16 * kVectors) {
    CodeRows columns = rows;
    columns.codes += PairBytes<kBits>(first);
    integers.template Multiply<kBits, FactorOf::kProbabilities, kVectors>(
        columns, heads, [&](int h, int j, __m512i sums) { store(h, first + 16 * j, sums); });
  }
  return first;
}

// Calls store(head, column, CodeSums) for `channels` columns of values' codes, which fill whole
// packing units (FitsUnits).
template <int kBits, bool kScaled, typename Integers, typename Store>
void WeighCodes(Integers& integers, const FloatRows& p, const FloatRows* following,
                const CodeRows& rows, int heads, int channels, const Store& store) {
  using Kind = FactorKind<kBits, FactorOf::kProbabilities>;
  ForRoundedHeads<Kind, kScaled>(integers, p, following, heads, [&](int first, int count) {
    const auto store_head = [&](int h, int column, __m512i sums) {
      store(first + h, column, CodeSums{_mm512_cvtepi32_ps(sums), integers.x.now(), h});
    };
    int done = WeighColumns<kBits, 4>(integers, rows, count, 0, channels, store_head);
    if constexpr (kUnitGranules<kBits> <= 2) {
      done = WeighColumns<kBits, 2>(integers, rows, count, done, channels, store_head);
    }
    if constexpr (kUnitGranules<kBits> == 1) {
      done = WeighColumns<kBits, 1>(integers, rows, count, done, channels, store_head);
    }
  });
}

}  // namespace
}  // namespace kvpareto::cpu
