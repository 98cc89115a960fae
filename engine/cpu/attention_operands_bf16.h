// Operands of bf16 products in attention, on tiles and on vectors. A: query rows or probabilities,
// in blocks of kRows rows, [rows / kRows, depth steps, kRows, kTileDepth]. B: keys or values as
// pairs along the reduced index, [depth / 2, columns] pairs. That is the element order of K and V
// tiles (kv/tile.h), so bf16 tiles are multiplied where they stand, and others once decoded to
// bf16. Everything is in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include <cstring>

#include "engine/cpu/attention_row_avx512.h"
#include "engine/cpu/open_tile_avx512.h"

namespace kvpareto::cpu {
namespace {

inline constexpr int kTileDepth = 32;  // the reduced index of one step, in elements

constexpr int DepthSteps(int depth) { return (depth + kTileDepth - 1) / kTileDepth; }

// Depth step s of A meets rows of B from depth DepthStart(s) on. When steps don't divide the depth
// (at least one step), the last one overlaps the one before, and A is zero where it repeats: no
// operand is read beyond its end.
constexpr int DepthStart(int step, int depth) {
  const int start = step * kTileDepth;
  return start + kTileDepth <= depth ? start : depth - kTileDepth;
}

// Where row `row` of depth step `step` of `steps` begins in an A operand.
template <int kRows>
constexpr size_t OperandIndex(int row, int step, int steps) {
  return (static_cast<size_t>(row / kRows * steps + step) * kRows + row % kRows) * kTileDepth;
}

// --- A ---

// Calls store(index, first 16 floats, second 16) for every row and depth step of an A operand of
// `rows` stacked rows. row_of(row): its head_dim floats; rows beyond the task's are zero.
template <int kRows, typename RowOf, typename Store>
void PackRows(const AttentionTask& task, int rows, const RowOf& row_of, const Store& store) {
  const int steps = DepthSteps(task.head_dim);
  for (int row = 0; row < rows; ++row) {
    const bool real = row < task.rows * task.group;
    for (int s = 0; s < steps; ++s) {
      const int start = DepthStart(s, task.head_dim);
      const int repeated = s * kTileDepth - start;
      __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
      if (real) {
        const float* const from = row_of(row) + start;
        low = _mm512_maskz_loadu_ps(LaneMask(0, repeated, kTileDepth), from);
        high = _mm512_maskz_loadu_ps(LaneMask(16, repeated, kTileDepth), from + 16);
      }
      store(OperandIndex<kRows>(row, s, steps), low, high);
    }
  }
}

template <int kRows>
void PackQueries(const AttentionTask& task, int rows, uint16_t* to) {
  const auto query = [&](int row) {
    return task.q + static_cast<size_t>(row / task.group) * task.q_stride +
           row % task.group * task.head_dim;
  };
  PackRows<kRows>(task, rows, query, [to](size_t index, __m512 low, __m512 high) {
    _mm512_storeu_si512(to + index, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  });
}

// --- B ---

// A store that rounds granules to bf16 in element order, as DecodeToBf16 does.
struct ElementsBf16 {
  uint16_t* out;
  void operator()(int granule, const Pairs& values) const {
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(values.second, values.first);
    const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(halves));
    const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(halves, 1));
    _mm512_storeu_si512(out + granule * kGranule,
                        _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
};

// Keys of a piece, [head_dim / 2, kBlockTokens] pairs, rows of pairs row_bytes apart. `decoded`:
// [kBlockTokens * head_dim], for those that must be decoded.
inline const std::byte* ViewKeys(const AttentionTask& task, const TilePiece& piece,
                                 uint16_t* decoded, size_t& row_bytes) {
  const std::byte* const tile = piece.k_tile(task.kv_head);
  const kv::CodecId codec = piece.layout->k_codec;
  std::byte* const out = reinterpret_cast<std::byte*>(decoded);
  row_bytes = PairBytes<16>(kv::kBlockTokens);
  if (codec == kv::CodecId::kF32) {
    ReadOpenKeys(task, piece, {piece.begin, piece.end}, ElementsBf16{decoded});
    return out;
  }
  if (codec != kv::CodecId::kBf16) {
    DecodeToBf16({codec, kv::Role::kKey, task.k_range, task.head_dim, tile}, decoded);
    return out;
  }
  const size_t tile_row_bytes = PairBytes<16>(piece.layout->tile_tokens);
  const std::byte* const window = tile + PairBytes<16>(piece.window);
  if (piece.window_slots == kv::kBlockTokens) {
    row_bytes = tile_row_bytes;
    return window;
  }
  std::memset(out, 0, row_bytes * (task.head_dim / 2));
  for (int r = 0; r < task.head_dim / 2; ++r) {
    std::memcpy(out + r * row_bytes, window + r * tile_row_bytes,
                PairBytes<16>(piece.window_slots));
  }
  return out;
}

// Values of a piece, [kBlockTokens / 2, head_dim] pairs. Unwritten slots may be NaN, which a
// probability of zero would not silence: they become zeros.
inline const std::byte* ViewValues(const AttentionTask& task, const TilePiece& piece,
                                   uint16_t* decoded) {
  const std::byte* const tile = piece.v_tile(task.kv_head);
  const kv::CodecId codec = piece.layout->v_codec;
  if (codec == kv::CodecId::kF32) {
    ReadOpenValues(task, piece, {piece.begin, piece.end}, ElementsBf16{decoded});
    return reinterpret_cast<const std::byte*>(decoded);
  }
  if (codec != kv::CodecId::kBf16) {
    DecodeToBf16({codec, kv::Role::kValue, task.v_range, task.head_dim, tile}, decoded);
    return reinterpret_cast<const std::byte*>(decoded);
  }
  const size_t row_bytes = PairBytes<16>(task.head_dim);
  const std::byte* const window = tile + piece.window / 2 * row_bytes;
  if (piece.begin == 0 && piece.end == kv::kBlockTokens) return window;
  std::byte* const out = reinterpret_cast<std::byte*>(decoded);
  for (int t = 0; t < kv::kBlockTokens; t += 2) {
    const bool first = t >= piece.begin && t < piece.end;
    const bool second = t + 1 >= piece.begin && t + 1 < piece.end;
    const __m512i keep = _mm512_set1_epi32(
        static_cast<int>((first ? 0x0000ffffu : 0u) | (second ? 0xffff0000u : 0u)));
    for (size_t i = t / 2 * row_bytes; i < (t / 2 + 1) * row_bytes; i += 64) {
      __m512i lanes = _mm512_setzero_si512();
      if (first || second) lanes = _mm512_and_si512(_mm512_loadu_si512(window + i), keep);
      _mm512_storeu_si512(out + i, lanes);
    }
  }
  return out;
}

}  // namespace
}  // namespace kvpareto::cpu
