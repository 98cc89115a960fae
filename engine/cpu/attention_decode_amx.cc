// Attention of one query row on AMX tiles, codes of a few heads excepted, to f32 accuracy: a float
// is the exact sum of three bf16 parts (8 bits of significand each), so a head's query is three
// rows of the A operand, and codes of up to 8 bits and bf16 values are exact in bf16. Five heads
// fill a tile; the tile unit's time does not depend on how many of its rows are used, and is a
// fraction of what the same vector products take.
#include "engine/base/float16.h"
#include "engine/cpu/attention_decode_avx512.h"
#include "engine/cpu/attention_tiles_amx.h"
#include "engine/cpu/attention_vector.h"
#include "engine/cpu/integer_rows_avx512.h"

namespace kvpareto::cpu {
namespace {

constexpr int kParts = 3;
constexpr int kHeadsPerTile = kTileRows / kParts;
// Turning codes into bf16 costs more than the integer products of a few heads on them.
template <int kBits>
constexpr bool OnIntegers(int heads) {
  return kBits <= 8 && heads <= kIntegerHeads;
}

constexpr int kMaxSteps = kMaxHeadDim / kTileDepth;
constexpr int kColumnTiles = 4;  // of sums: 64 tokens or channels at a time
constexpr int kColumns = kColumnTiles * kTileColumns;

// 0 to 63 as bf16: a look-up by an index's lowest 4, 5 or 6 bits.
struct IntegerTable {
  alignas(64) uint16_t values[64];
  constexpr IntegerTable() : values() {
    for (int i = 0; i < 64; ++i) values[i] = FloatToBf16(static_cast<float>(i));
  }
};
constexpr IntegerTable kIntegers;

// A unit of codes (bit_packing.h) as bf16 integers, in element order.
template <int kBits>
void ExpandUnit(const std::byte* from, uint16_t* to) {
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  if constexpr (kBits == 8) {
    const __m512i lanes = _mm512_cvtepu16_epi32(bytes);
    const __m512 first = _mm512_cvtepi32_ps(_mm512_and_si512(lanes, _mm512_set1_epi32(0xff)));
    const __m512 second = _mm512_cvtepi32_ps(_mm512_srli_epi32(lanes, 8));
    // Integers below 256 leave the lower half of a float zero.
    const __m512i low = _mm512_srli_epi32(_mm512_castps_si512(first), 16);
    _mm512_store_si512(to, _mm512_or_si512(low, _mm512_castps_si512(second)));
  } else {
    // The table repeats, so higher codes need no mask.
    const __m512i table = kBits == 4 ? _mm512_broadcast_i64x4(_mm256_load_si256(
                                           reinterpret_cast<const __m256i*>(kIntegers.values)))
                                     : _mm512_set1_epi64(0x404040003f800000);
    const __m512i words = _mm512_cvtepu8_epi16(bytes);
    for (int i = 0; i < 8 / kBits; ++i) {
      _mm512_store_si512(to + 32 * i,
                         _mm512_permutexvar_epi16(_mm512_srli_epi16(words, kBits * i), table));
    }
  }
}

template <>
void ExpandUnit<6>(const std::byte* from, uint16_t* to) {
  const __m512i low_table = _mm512_load_si512(kIntegers.values);
  const __m512i high_table = _mm512_load_si512(kIntegers.values + 32);
  const __m512i low_bits = _mm512_set1_epi16(15);
  // High bits where they belong in the index of the first of four granules; then two lower each.
  const __m512i high = _mm512_slli_epi16(LoadWords(from + kv::BitPacking<6>::kHighPlane), 6);
  for (int i = 0; i < 4; ++i) {
    const __m512i low =
        _mm512_srli_epi16(LoadWords(from + i / 2 * kv::BitPacking<4>::kUnitBytes), i % 2 * 4);
    const __m512i index =
        _mm512_or_si512(_mm512_and_si512(low, low_bits),
                        _mm512_andnot_si512(low_bits, _mm512_srli_epi16(high, 2 * i + 2)));
    _mm512_store_si512(to + 32 * i, _mm512_permutex2var_epi16(low_table, index, high_table));
  }
}

template <>
void ExpandUnit<3>(const std::byte* from, uint16_t* to) {
  const __m512i table = _mm512_set1_epi64(0x404040003f800000);       // 0 1 2 3
  const __m512i high_table = _mm512_set1_epi64(0x40e040c040a04080);  // 4 5 6 7
  const __m512i words = LoadWords(from);
  for (int i = 0; i < 4; ++i) {
    uint32_t high;  // a bit for each of the 32 elements, in order
    std::memcpy(&high, from + kv::BitPacking<3>::kHighPlane + 4 * i, sizeof(high));
    const __m512i index = _mm512_srli_epi16(words, 2 * i);
    _mm512_store_si512(to + 32 * i,
                       _mm512_mask_permutexvar_epi16(_mm512_permutexvar_epi16(index, table),
                                                     _cvtu32_mask32(high), index, high_table));
  }
}

// Rows of `pairs` pairs; `to` is packed.
template <int kBits>
void Expand(const CodeRows& rows, int pairs, uint16_t* to) {
  constexpr int kUnitElements = kv::BitPacking<kBits>::kUnitElements;
  constexpr int kUnitBytes = kv::BitPacking<kBits>::kUnitBytes;
  const int units = 2 * pairs / kUnitElements;
  for (int r = 0; r < rows.rows; ++r) {
    const size_t offset = r * rows.row_bytes;
    for (int u = 0; u < units; ++u, to += kUnitElements) {
      PrefetchRow<kUnitBytes>(rows.next, offset + kUnitBytes * u);
      ExpandUnit<kBits>(rows.codes + offset + kUnitBytes * u, to);
    }
  }
}

// 32 floats of head h as rows h, 5 + h and 10 + h of an A tile: high, middle and low parts. A row
// is stored whole, so that the tile load behind it is served from the store buffer.
void StoreParts(__m512 low_half, __m512 high_half, int head, uint16_t* tile) {
  uint16_t* row = tile + head * kTileDepth;
  for (int part = 0; part < kParts; ++part, row += kHeadsPerTile * kTileDepth) {
    const __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(high_half, low_half);
    _mm512_store_si512(row, rounded);
    const auto widen = [](__m256i bf16) {
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
    };
    low_half = _mm512_sub_ps(low_half, widen(_mm512_castsi512_si256(rounded)));
    high_half = _mm512_sub_ps(high_half, widen(_mm512_extracti64x4_epi64(rounded, 1)));
  }
}

__m512 SumParts(const float* sums, int head, int stride) {
  const float* const high = sums + head * stride;
  return _mm512_add_ps(_mm512_load_ps(high),
                       _mm512_add_ps(_mm512_load_ps(high + kHeadsPerTile * stride),
                                     _mm512_load_ps(high + 2 * kHeadsPerTile * stride)));
}

// One A tile times up to four B tiles side by side: sums in tiles 0-3, A in 4, B in 5-7.
template <int kTiles>
void MultiplyRow(const uint16_t* a, const std::byte* b, size_t row_bytes) {
  _tile_loadd(4, a, kTileRowBytes);
  _tile_loadd(5, b, row_bytes);
  _tile_dpbf16ps(0, 4, 5);
  if constexpr (kTiles > 1) {
    _tile_loadd(6, b + kTileRowBytes, row_bytes);
    _tile_dpbf16ps(1, 4, 6);
  }
  if constexpr (kTiles > 2) {
    _tile_loadd(7, b + 2 * kTileRowBytes, row_bytes);
    _tile_dpbf16ps(2, 4, 7);
  }
  if constexpr (kTiles > 3) {
    _tile_loadd(5, b + 3 * kTileRowBytes, row_bytes);
    _tile_dpbf16ps(3, 4, 5);
  }
}

// To [kTileRows, kColumns].
template <int kTiles>
void StoreRow(float* to) {
  constexpr size_t kBytes = kColumns * sizeof(float);
  _tile_stored(0, to, kBytes);
  if constexpr (kTiles > 1) _tile_stored(1, to + kTileColumns, kBytes);
  if constexpr (kTiles > 2) _tile_stored(2, to + 2 * kTileColumns, kBytes);
  if constexpr (kTiles > 3) _tile_stored(3, to + 3 * kTileColumns, kBytes);
}

// Scratch of one task; no constructor runs.
struct TileProducts {
  alignas(64) uint16_t a[kMaxSteps * kTileElements];               // A operands, by depth step
  alignas(64) uint16_t b[2 * kv::kBlockTokens * kMaxHeadDim / 2];  // expanded codes
  alignas(64) float sums[kTileRows * kColumns];
  IntegerVectors integers;

  template <int kBits>
  void Dot(const DotArgs& args, int heads) {
    if constexpr (kBits == 32) {
      DotHeads<kBits>(args, heads);
    } else if (OnIntegers<kBits>(heads)) {
      if constexpr (kBits <= 8) DotCodes<kBits>(args, heads, integers);
    } else {
      const std::byte* keys = args.keys;
      size_t row_bytes = args.row_bytes;
      if constexpr (kBits < 16) {
        Expand<kBits>({args.keys, args.next, args.row_bytes, args.rows}, kv::kBlockTokens, b);
        keys = reinterpret_cast<const std::byte*>(b);
        row_bytes = PairBytes<16>(kv::kBlockTokens);
      } else {
        PrefetchBytes(args.next, 0, args.rows * args.row_bytes);
      }
      for (int h = 0; h < heads; h += kHeadsPerTile) {
        const int count = heads - h < kHeadsPerTile ? heads - h : kHeadsPerTile;
        const int steps = PackQueries(args.q + h * args.q_stride, args.q_stride, count, args.rows);
        OrderMemory();
        ZeroSums();
        for (int s = 0; s < steps; ++s) {
          MultiplyRow<kColumnTiles>(a + s * kTileElements,
                                    keys + DepthStart(s, 2 * args.rows) / 2 * row_bytes, row_bytes);
        }
        StoreRow<kColumnTiles>(sums);
        for (int i = 0; i < count; ++i) {
          for (int t = 0; t < kv::kBlockTokens; t += 16) {
            _mm512_storeu_ps(args.scores + (h + i) * args.stride + t,
                             SumParts(sums + t, i, kColumns));
          }
        }
      }
    }
  }

  template <int kBits>
  void Weigh(const WeighArgs& args, int heads, int channels) {
    if constexpr (kBits == 32) {
      WeighChannels<kBits>(args, heads, channels);
    } else if (OnIntegers<kBits>(heads)) {
      if constexpr (kBits <= 8) WeighCodeChannels<kBits>(args, heads, channels, integers);
    } else {
      // Rows of the last tile must all be there; an open block's remainder goes on vectors.
      const int whole = args.rows / kTileRows * kTileRows;
      if (whole > 0) {
        const std::byte* values = args.values;
        size_t row_bytes = args.row_bytes;
        if constexpr (kBits < 16) {
          Expand<kBits>({args.values, args.next, args.row_bytes, whole}, channels, b);
          values = reinterpret_cast<const std::byte*>(b);
          row_bytes = PairBytes<16>(channels);
        } else {
          PrefetchBytes(args.next, 0, args.rows * args.row_bytes);
        }
        for (int h = 0; h < heads; h += kHeadsPerTile) {
          const int count = heads - h < kHeadsPerTile ? heads - h : kHeadsPerTile;
          PackProbabilities(args.p + h * args.p_stride, args.p_stride, count, whole / kTileRows);
          OrderMemory();
          float* const out = args.out + h * args.out_stride;
          int c = 0;
          for (; c + kColumns <= channels; c += kColumns) {
            WeighColumns<4>(values + PairBytes<16>(c), row_bytes, whole / kTileRows, count, out + c,
                            args.out_stride);
          }
          for (; c + 2 * kTileColumns <= channels; c += 2 * kTileColumns) {
            WeighColumns<2>(values + PairBytes<16>(c), row_bytes, whole / kTileRows, count, out + c,
                            args.out_stride);
          }
          for (; c < channels; c += kTileColumns) {
            WeighColumns<1>(values + PairBytes<16>(c), row_bytes, whole / kTileRows, count, out + c,
                            args.out_stride);
          }
        }
      }
      if (whole == args.rows) return;
      WeighArgs rest = args;
      rest.next = nullptr;
      rest.values += whole * args.row_bytes;
      rest.rows -= whole;
      rest.p += 2 * whole;
      WeighChannels<kBits>(rest, heads, channels);
    }
  }

 private:
  // Query heads as A operands; returns the depth steps.
  int PackQueries(const float* q, int stride, int heads, int rows) {
    const int depth = 2 * rows;
    const int steps = DepthSteps(depth);
    for (int s = 0; s < steps; ++s) {
      const int start = DepthStart(s, depth);
      const int repeated = s * kTileDepth - start;
      for (int h = 0; h < heads; ++h) {
        const float* const from = q + h * stride + start;
        StoreParts(_mm512_maskz_loadu_ps(LaneMask(0, repeated, kTileDepth), from),
                   _mm512_maskz_loadu_ps(LaneMask(16, repeated, kTileDepth), from + 16), h,
                   a + s * kTileElements);
      }
    }
    return steps;
  }

  void PackProbabilities(const float* p, int stride, int heads, int steps) {
    for (int s = 0; s < steps; ++s) {
      for (int h = 0; h < heads; ++h) {
        const float* const from = p + h * stride + s * kTileDepth;
        StoreParts(_mm512_loadu_ps(from), _mm512_loadu_ps(from + 16), h, a + s * kTileElements);
      }
    }
  }

  template <int kTiles>
  void WeighColumns(const std::byte* values, size_t row_bytes, int steps, int heads, float* out,
                    int out_stride) {
    ZeroSums();
    for (int s = 0; s < steps; ++s, values += kTileRows * row_bytes) {
      MultiplyRow<kTiles>(a + s * kTileElements, values, row_bytes);
    }
    StoreRow<kTiles>(sums);
    for (int h = 0; h < heads; ++h) {
      for (int j = 0; j < kTiles * kTileColumns; j += 16) {
        float* const to = out + h * out_stride + j;
        _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), SumParts(sums + j, h, kColumns)));
      }
    }
  }
};

}  // namespace

size_t DecodeScratchBytesAmx(int group, int head_dim) {
  return DecodeScratchBytes<TileProducts>(group, head_dim);
}

// Rows of A that no head fills hold what was there before; their sums are never read.
void DecodeAttentionAmx(const AttentionTask& task, std::byte* bytes) {
  const TileSession session;
  DecodeAttention<TileProducts>(task, bytes);
}

}  // namespace kvpareto::cpu
