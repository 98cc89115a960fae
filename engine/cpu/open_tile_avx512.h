// Open f32 tiles, whole or partly filled, as granules. Slots outside the given ones become zeros:
// what stands there may be NaN. Everything is in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include "engine/cpu/attention_row_avx512.h"

namespace kvpareto::cpu {
namespace {

// 16 pairs of neighbouring floats.
inline Pairs LoadPairs(const float* from) {
  const __m512 low = _mm512_loadu_ps(from);
  const __m512 high = _mm512_loadu_ps(from + 16);
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  return {_mm512_permutex2var_ps(low, even, high), _mm512_permutex2var_ps(low, odd, high)};
}

// Calls store(granule index, values) for all granules of a tile of kBlockTokens slots.
template <typename Store>
void ReadOpenKeys(const AttentionTask& task, const TilePiece& piece, Slots slots,
                  const Store& store) {
  const auto* row = reinterpret_cast<const float*>(piece.k_tile(task.kv_head)) + 2 * piece.window;
  for (int r = 0; r < task.head_dim / 2; ++r, row += 2 * piece.layout->tile_tokens) {
    for (int j = 0; j < kTileVectors; ++j) {
      Pairs values = {_mm512_setzero_ps(), _mm512_setzero_ps()};
      const __mmask16 keep = LaneMask(16 * j, slots.begin, slots.end);
      if (keep != 0) {
        values = LoadPairs(row + kGranule * j);
        values = {_mm512_maskz_mov_ps(keep, values.first),
                  _mm512_maskz_mov_ps(keep, values.second)};
      }
      store(r * kTileVectors + j, values);
    }
  }
}

template <typename Store>
void ReadOpenValues(const AttentionTask& task, const TilePiece& piece, Slots slots,
                    const Store& store) {
  const auto* from = reinterpret_cast<const float*>(piece.v_tile(task.kv_head)) +
                     static_cast<size_t>(piece.window) * task.head_dim;
  int granule = 0;
  for (int t = 0; t < kv::kBlockTokens; t += 2) {
    const auto keep = [&](int slot) {
      return static_cast<__mmask16>(slot >= slots.begin && slot < slots.end ? 0xffff : 0);
    };
    const __mmask16 first = keep(t), second = keep(t + 1);
    for (int c = 0; c < task.head_dim; c += 16, from += kGranule) {
      Pairs values = {_mm512_setzero_ps(), _mm512_setzero_ps()};
      if (first | second) {
        values = LoadPairs(from);
        values = {_mm512_maskz_mov_ps(first, values.first),
                  _mm512_maskz_mov_ps(second, values.second)};
      }
      store(granule++, values);
    }
  }
}

// A store that keeps floats as granules.
struct GranuleFloats {
  float* out;
  void operator()(int granule, const Pairs& values) const {
    _mm512_storeu_ps(out + granule * kGranule, values.first);
    _mm512_storeu_ps(out + granule * kGranule + 16, values.second);
  }
};

}  // namespace
}  // namespace kvpareto::cpu
