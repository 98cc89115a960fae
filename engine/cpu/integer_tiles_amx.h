// The products of integer_rows_avx512.h on AMX tiles, to the same bits. The integers of up to 16
// heads are the A operand, one row a head; those of 16 bits are two: their high bytes, signed, and
// their low ones, unsigned. Codes become bytes in the order of B once for all heads. Everything is
// in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include "engine/cpu/integer_rows_avx512.h"
#include "engine/cpu/tile_session_amx.h"

namespace kvpareto::cpu {
namespace {

inline constexpr int kByteTileRows = 16;   // of any tile
inline constexpr int kByteTileDepth = 64;  // bytes of a row of A
inline constexpr int kRowPairs = 64;       // of codes that are multiplied together
inline constexpr int kByteTiles = kRowPairs / 16;
// Tile loads wait for the stores before them to be through, which takes longer than the products of
// fewer heads do on vectors.
inline constexpr int kMinTileHeads = kVectorHeads + 1;
inline constexpr int kMaxByteSteps = kMaxHeadDim / kByteTileDepth;

// Loads a row of kRowPairs pairs of codes as bytes, in four quarters of 16 pairs: 0 and 1 in the
// first vector and 2 and 3 in the second, or, interleaved, 0 and 2 and 1 and 3.
template <int kBits>
struct RowBytes;

template <>
struct RowBytes<8> {
  static constexpr bool kInterleaved = false;
  static void Load(const std::byte* from, __m512i (&to)[2]) {
    to[0] = _mm512_loadu_si512(from);
    to[1] = _mm512_loadu_si512(from + 64);
  }
};

template <>
struct RowBytes<4> {
  static constexpr bool kInterleaved = true;
  static void Load(const std::byte* from, __m512i (&to)[2]) {
    const __m512i mask = _mm512_set1_epi8(15);
    const __m512i bytes = _mm512_loadu_si512(from);
    to[0] = _mm512_and_si512(bytes, mask);
    to[1] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), mask);
  }
};

// 32 bytes in both halves of a vector, and 16-bit counts for each half.
inline __m512i LoadTwice(const std::byte* from) {
  return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
inline __m512i Counts(int16_t first, int16_t second) {
  return _mm512_inserti64x4(_mm512_set1_epi16(first), _mm256_set1_epi16(second), 1);
}

template <>
struct RowBytes<2> {
  static constexpr bool kInterleaved = false;
  static void Load(const std::byte* from, __m512i (&to)[2]) {
    const __m512i mask = _mm512_set1_epi8(3);
    const __m512i bytes = LoadTwice(from);
    to[0] = _mm512_and_si512(_mm512_srlv_epi16(bytes, Counts(0, 2)), mask);
    to[1] = _mm512_and_si512(_mm512_srlv_epi16(bytes, Counts(4, 6)), mask);
  }
};

template <>
struct RowBytes<6> {
  static constexpr bool kInterleaved = true;
  static void Load(const std::byte* from, __m512i (&to)[2]) {
    RowBytes<4>::Load(from, to);
    // Quarter i has bits 2i and 2i + 1 of the high plane's bytes; they belong in bits 4 and 5.
    const __m512i mask = _mm512_set1_epi8(0x30);
    const __m512i high = LoadTwice(from + kv::BitPacking<6>::kHighPlane);
    const __m512i even = _mm512_sllv_epi16(high, Counts(4, 0));
    const __m512i odd = _mm512_srlv_epi16(_mm512_sllv_epi16(high, Counts(2, 0)), Counts(0, 2));
    to[0] = _mm512_or_si512(to[0], _mm512_and_si512(even, mask));
    to[1] = _mm512_or_si512(to[1], _mm512_and_si512(odd, mask));
  }
};

template <>
struct RowBytes<3> {
  static constexpr bool kInterleaved = false;
  static void Load(const std::byte* from, __m512i (&to)[2]) {
    RowBytes<2>::Load(from, to);
    const __m512i four = _mm512_set1_epi8(4);
    uint64_t high[2];  // a bit for each code, in order
    std::memcpy(high, from + kv::BitPacking<3>::kHighPlane, sizeof(high));
    for (int i = 0; i < 2; ++i) {
      to[i] = _mm512_mask_add_epi8(to[i], _cvtu64_mask64(high[i]), to[i], four);
    }
  }
};

// Integers of a few heads, and what multiplying them on tiles takes. No constructor runs.
class TileRows {
 public:
  FactorSlots x;

  // Tiles for products of `heads` heads: what is not configured is not computed. Tiles 0 to 5 are
  // sums and integers, 6 and 7 codes.
  static TileConfig Config(int heads) {
    TileConfig config;
    for (int tile = 0; tile < 6; ++tile) config.rows[tile] = static_cast<uint8_t>(heads);
    return config;
  }

  // As MultiplyOnVectors; from kMinTileHeads on, tiles must be as Config(heads) says.
  template <int kBits, FactorOf kOf, int kVectors, typename Store>
  void Multiply(const CodeRows& rows, int heads, const Store& store) {
    using Kind = FactorKind<kBits, kOf>;
    if constexpr (kVectors == kByteTiles) {
      if (heads >= kMinTileHeads) {
        steps_ = (2 * rows.rows + kByteTileDepth - 1) / kByteTileDepth;
        for (int h = 0; h < heads; ++h) {
          Kind::kBytes ? ZeroBytes(h, 2 * rows.rows) : SplitBytes(h, 2 * rows.rows);
        }
        Expand<kBits>(rows);
        if constexpr (Kind::kBytes) {
          MultiplyBytes<Kind::kSigned>();
        } else {
          MultiplyPair(0);
          MultiplyPair(1);
        }
        for (int h = 0; h < heads; ++h) Collect<kBits, Kind::kBytes>(h, store);
        return;
      }
    }
    MultiplyOnVectors<kBits, kOf, kVectors>(rows, x.now(), heads, store);
  }

 private:
  // Integers n and beyond, to the end of a depth step, count as zeros.
  void ZeroBytes(int head, int n) {
    const int end = steps_ * kByteTileDepth;
    for (int i = n; i < end; i += 16) {
      _mm_store_si128(reinterpret_cast<__m128i*>(x.now().integers[head] + i), _mm_setzero_si128());
    }
  }

  // The same, with high and low bytes apart.
  void SplitBytes(int head, int n) {
    const auto* const values = reinterpret_cast<const int16_t*>(x.now().integers[head]);
    for (int i = 0; i < n; i += kByteTileDepth) {
      __m256i high[2], low[2];
      for (int half = 0; half < 2; ++half) {
        const int left = n - i - 32 * half;
        const __mmask32 mask = left >= 32 ? ~0u : left <= 0 ? 0u : (1u << left) - 1;
        const __m512i words = _mm512_maskz_loadu_epi16(mask, values + i + 32 * half);
        high[half] = _mm512_cvtepi16_epi8(_mm512_srai_epi16(words, 8));
        low[half] = _mm512_cvtepi16_epi8(words);
      }
      // Whole rows of a tile, so that the tile load is served from the store buffer.
      const auto whole = [](const __m256i(&bytes)[2]) {
        return _mm512_inserti64x4(_mm512_castsi256_si512(bytes[0]), bytes[1], 1);
      };
      _mm512_store_si512(high_[head] + i, whole(high));
      _mm512_store_si512(low_[head] + i, whole(low));
    }
  }

  // Two rows of pairs are one row of B: four codes of a column. Unpacking leaves the columns 0-3,
  // 8-11, ... of a vector in one tile, and 4-7, 12-15, ... in the next; rows of B that nothing is
  // written to meet zeros.
  template <int kBits>
  void Expand(const CodeRows& rows) {
    constexpr int kLines = (kBits + 1) / 2;
    const std::byte* from = rows.codes;
    const std::byte* ahead =
        rows.ahead == nullptr ? nullptr : rows.ahead->Take(kLines * rows.rows / 2);
    for (int r = 0; r < rows.rows; r += 2, from += 2 * rows.row_bytes) {
      if (ahead != nullptr) ahead = PrefetchLines<kLines>(ahead);
      __m512i first[2], second[2];
      RowBytes<kBits>::Load(from, first);
      RowBytes<kBits>::Load(from + rows.row_bytes, second);
      uint8_t* const to = codes_[r / 2 / kByteTileRows][0][r / 2 % kByteTileRows];
      for (int v = 0; v < 2; ++v) {
        _mm512_store_si512(to + 2 * v * kTileBytes, _mm512_unpacklo_epi16(first[v], second[v]));
        _mm512_store_si512(to + (2 * v + 1) * kTileBytes,
                           _mm512_unpackhi_epi16(first[v], second[v]));
      }
    }
  }

  // The two column tiles of vector `pair`: sums of high and of low bytes.
  void MultiplyPair(int pair) {
    OrderMemory();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < steps_; ++s) {
      _tile_loadd(4, high_[0] + s * kByteTileDepth, kMaxHeadDim);
      _tile_loadd(5, low_[0] + s * kByteTileDepth, kMaxHeadDim);
      _tile_loadd(6, codes_[s][2 * pair], kByteTileDepth);
      _tile_loadd(7, codes_[s][2 * pair + 1], kByteTileDepth);
      _tile_dpbsud(0, 4, 6);
      _tile_dpbuud(1, 5, 6);
      _tile_dpbsud(2, 4, 7);
      _tile_dpbuud(3, 5, 7);
    }
    _tile_stored(0, sums_[pair][0][0], kSumBytes);
    _tile_stored(1, sums_[pair][0][1], kSumBytes);
    _tile_stored(2, sums_[pair][1][0], kSumBytes);
    _tile_stored(3, sums_[pair][1][1], kSumBytes);
    OrderMemory();
  }

  // The four column tiles of integers that are bytes.
  template <bool kSigned>
  void MultiplyBytes() {
    OrderMemory();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < steps_; ++s) {
      _tile_loadd(4, x.now().integers[0] + s * kByteTileDepth, IntegerFactors::kRowBytes);
      _tile_loadd(6, codes_[s][0], kByteTileDepth);
      _tile_loadd(7, codes_[s][1], kByteTileDepth);
      if constexpr (kSigned) {
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
      } else {
        _tile_dpbuud(0, 4, 6);
        _tile_dpbuud(1, 4, 7);
      }
      _tile_loadd(6, codes_[s][2], kByteTileDepth);
      _tile_loadd(7, codes_[s][3], kByteTileDepth);
      if constexpr (kSigned) {
        _tile_dpbsud(2, 4, 6);
        _tile_dpbsud(3, 4, 7);
      } else {
        _tile_dpbuud(2, 4, 6);
        _tile_dpbuud(3, 4, 7);
      }
    }
    _tile_stored(0, sums_[0][0][0], kSumBytes);
    _tile_stored(1, sums_[0][1][0], kSumBytes);
    _tile_stored(2, sums_[1][0][0], kSumBytes);
    _tile_stored(3, sums_[1][1][0], kSumBytes);
    OrderMemory();
  }

  template <bool kBytes>
  __m512i Sums(int pair, int tile, int head) const {
    const auto& sums = sums_[pair][tile];
    const __m512i first = _mm512_load_si512(sums[0][head]);
    if constexpr (kBytes) return first;
    return _mm512_add_epi32(_mm512_slli_epi32(first, 8), _mm512_load_si512(sums[1][head]));
  }

  // A head's sums, columns in order.
  template <int kBits, bool kBytes, typename Store>
  void Collect(int head, const Store& store) const {
    const __m512i quarters[2] = {
        _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23),
        _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31)};
    for (int pair = 0; pair < 2; ++pair) {
      const __m512i low = Sums<kBytes>(pair, 0, head), high = Sums<kBytes>(pair, 1, head);
      for (int half = 0; half < 2; ++half) {
        const int quarter = RowBytes<kBits>::kInterleaved ? pair + 2 * half : 2 * pair + half;
        store(head, quarter, _mm512_permutex2var_epi32(low, quarters[half], high));
      }
    }
  }

  static constexpr size_t kTileBytes = size_t{kByteTileRows} * kByteTileDepth;
  static constexpr size_t kSumBytes = 16 * sizeof(int32_t);  // of a head

  int steps_;  // of depth
  alignas(64) int8_t high_[kFactorHeads][kMaxHeadDim];
  alignas(64) uint8_t low_[kFactorHeads][kMaxHeadDim];
  alignas(64) uint8_t codes_[kMaxByteSteps][kByteTiles][kByteTileRows][kByteTileDepth];
  // [vector, its tile, high or low, head, column]
  alignas(64) int32_t sums_[2][2][2][kFactorHeads][16];
};

}  // namespace
}  // namespace kvpareto::cpu
