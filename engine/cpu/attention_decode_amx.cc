// Attention of one query row on AMX tiles. Codes meet integers (integer_tiles_amx.h). bf16 keys and
// values are multiplied to f32 accuracy: a float is the exact sum of three bf16 parts (8 bits of
// significand each), so a head's query is three rows of the A operand, and five heads fill a tile;
// the tile unit's time for them is a fraction of what the same vector products take.
#include "engine/cpu/attention_decode_avx512.h"
#include "engine/cpu/attention_tiles_amx.h"
#include "engine/cpu/attention_vector.h"
#include "engine/cpu/integer_tiles_amx.h"

namespace kvpareto::cpu {
namespace {

constexpr int kParts = 3;
constexpr int kHeadsPerTile = kTileRows / kParts;
constexpr int kMaxSteps = kMaxHeadDim / kTileDepth;
constexpr int kColumnTiles = 4;  // of sums: 64 tokens or channels at a time
constexpr int kKeptGroups = 2;   // of kHeadsPerTile heads, whose queries stay packed
constexpr int kColumns = kColumnTiles * kTileColumns;

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
void MultiplyRow(const uint16_t* a, const std::byte* b, size_t row_bytes, PrefetchRun* ahead) {
  constexpr int kLines = 16;  // as many as the rows of a tile
  _tile_loadd(4, a, kTileRowBytes);
  _tile_loadd(5, b, row_bytes);
  _tile_dpbf16ps(0, 4, 5);
  if (ahead != nullptr) ahead->Lines(kLines);
  if constexpr (kTiles > 1) {
    _tile_loadd(6, b + kTileRowBytes, row_bytes);
    _tile_dpbf16ps(1, 4, 6);
    if (ahead != nullptr) ahead->Lines(kLines);
  }
  if constexpr (kTiles > 2) {
    _tile_loadd(7, b + 2 * kTileRowBytes, row_bytes);
    _tile_dpbf16ps(2, 4, 7);
    if (ahead != nullptr) ahead->Lines(kLines);
  }
  if constexpr (kTiles > 3) {
    _tile_loadd(5, b + 3 * kTileRowBytes, row_bytes);
    _tile_dpbf16ps(3, 4, 5);
    if (ahead != nullptr) ahead->Lines(kLines);
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
  static constexpr int kTilesAhead = 4;  // 2 MB of L2 a core: two are slower, eight no faster
  static constexpr bool kLowWindows = true;

  alignas(64) uint16_t a[kMaxSteps * kTileElements];  // A operands, by depth step
  alignas(64) uint16_t queries[kKeptGroups][kMaxSteps * kTileElements];  // the same, of a task
  alignas(64) float sums[kTileRows * kColumns];
  TileRows integers;
  bool packed;     // whether `queries` are this task's
  int configured;  // heads that the tiles are configured for; 0: whole tiles, -1: not yet

  void Begin() {
    configured = -1;
    packed = false;
    integers.x.Begin();
  }

  // A few heads' codes need no tiles, and to configure them takes as long as a tile of codes.
  void End() {
    if (configured >= 0) ReleaseTiles();
  }

  template <int kBits>
  void Dot(const DotArgs& args, int heads) {
    if constexpr (kBits == 32) {
      DotHeads<kBits>(args, heads);
    } else {
      DotBf16(args, heads);
    }
  }

  template <int kBits>
  void Weigh(const WeighArgs& args, int heads, int channels) {
    if constexpr (kBits == 32) {
      WeighChannels<kBits>(args, heads, channels);
    } else {
      WeighBf16Channels(args, heads, channels);
    }
  }

  TileRows& ForCodes(int heads) {
    Configure(heads < kFactorHeads ? heads : kFactorHeads);
    return integers;
  }

 private:
  void Configure(int heads) {
    if (configured == heads) return;
    configured = heads;
    ConfigureTiles(heads == 0 ? kWholeTiles : TileRows::Config(heads));
  }

  void DotBf16(const DotArgs& args, int heads) {
    Configure(0);
    const bool keep = heads <= kKeptGroups * kHeadsPerTile;
    for (int h = 0; h < heads; h += kHeadsPerTile) {
      const int count = heads - h < kHeadsPerTile ? heads - h : kHeadsPerTile;
      uint16_t* const parts = keep ? queries[h / kHeadsPerTile] : a;
      if (!keep || !packed) {
        PackQueries(args.q + h * args.q_stride, args.q_stride, count, args.rows, parts);
      }
      OrderMemory();
      switch (args.tokens / kTileColumns) {
        case 1:
          DotColumns<1>(args, parts, h, count);
          break;
        case 2:
          DotColumns<2>(args, parts, h, count);
          break;
        case 3:
          DotColumns<3>(args, parts, h, count);
          break;
        default:
          DotColumns<kColumnTiles>(args, parts, h, count);
      }
    }
    packed = keep;
  }

  // Scores of heads [first, first + heads), whose queries are `parts`, against 16 * kTiles tokens.
  template <int kTiles>
  void DotColumns(const DotArgs& args, const uint16_t* parts, int first, int heads) {
    const int steps = DepthSteps(2 * args.rows);
    ZeroSums();
    for (int s = 0; s < steps; ++s) {
      MultiplyRow<kTiles>(parts + s * kTileElements,
                          args.keys + DepthStart(s, 2 * args.rows) / 2 * args.row_bytes,
                          args.row_bytes, args.ahead);
    }
    StoreRow<kTiles>(sums);
    for (int i = 0; i < heads; ++i) {
      for (int t = 0; t < kTiles * kTileColumns; t += 16) {
        _mm512_storeu_ps(args.scores + (first + i) * args.stride + t,
                         SumParts(sums + t, i, kColumns));
      }
    }
  }

  // Rows of the last tile must all be there; an open block's remainder goes on vectors.
  void WeighBf16Channels(const WeighArgs& args, int heads, int channels) {
    const int whole = args.rows / kTileRows * kTileRows;
    if (whole > 0) WeighWholeTiles(args, whole / kTileRows, heads, channels);
    if (whole == args.rows) return;
    WeighArgs rest = args;
    rest.values += whole * args.row_bytes;
    rest.rows -= whole;
    rest.p += 2 * whole;
    WeighChannels<16>(rest, heads, channels);
  }

  void WeighWholeTiles(const WeighArgs& args, int steps, int heads, int channels) {
    Configure(0);
    for (int h = 0; h < heads; h += kHeadsPerTile) {
      const int count = heads - h < kHeadsPerTile ? heads - h : kHeadsPerTile;
      PackProbabilities(args.p + h * args.p_stride, args.p_stride, count, steps);
      OrderMemory();
      float* const out = args.out + h * args.out_stride;
      int c = 0;
      const auto columns = [&]<int kTiles>() {
        for (; c + kTiles * kTileColumns <= channels; c += kTiles * kTileColumns) {
          WeighColumns<kTiles>(args.values + PairBytes<16>(c), args.row_bytes, steps, count,
                               out + c, args.out_stride, args.ahead);
        }
      };
      columns.template operator()<4>();
      columns.template operator()<2>();
      columns.template operator()<1>();
    }
  }

  // Query heads as A operands.
  static void PackQueries(const float* q, int stride, int heads, int rows, uint16_t* to) {
    const int depth = 2 * rows;
    const int steps = DepthSteps(depth);
    for (int s = 0; s < steps; ++s) {
      const int start = DepthStart(s, depth);
      const int repeated = s * kTileDepth - start;
      for (int h = 0; h < heads; ++h) {
        const float* const from = q + h * stride + start;
        StoreParts(_mm512_maskz_loadu_ps(LaneMask(0, repeated, kTileDepth), from),
                   _mm512_maskz_loadu_ps(LaneMask(16, repeated, kTileDepth), from + 16), h,
                   to + s * kTileElements);
      }
    }
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
                    int out_stride, PrefetchRun* ahead) {
    ZeroSums();
    for (int s = 0; s < steps; ++s, values += kTileRows * row_bytes) {
      MultiplyRow<kTiles>(a + s * kTileElements, values, row_bytes, ahead);
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
  DecodeAttention<TileProducts>(task, bytes);
}

}  // namespace kvpareto::cpu
