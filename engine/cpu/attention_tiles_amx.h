// AMX tile registers as attention uses them: a 2 x 2 block of f32 sums (tiles 0-3), two A operands
// (4, 5) and two B operands (6, 7), bf16. Everything is in an anonymous namespace (see
// tile_decode_avx512.h).
#pragma once

#include "engine/cpu/attention_operands_bf16.h"
#include "engine/cpu/tile_session_amx.h"

namespace kvpareto::cpu {
namespace {

inline constexpr int kTileRows = 16;                          // of A and of the sums
inline constexpr int kTileColumns = 16;                       // of B and of the sums
inline constexpr int kTileElements = kTileRows * kTileDepth;  // of A, contiguous
inline constexpr int kTileRowBytes = 64;

inline void ZeroSums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

// Rows [0, 16) and [16, 32) of A.
inline void LoadA(const uint16_t* upper, const uint16_t* lower) {
  _tile_loadd(4, upper, kTileRowBytes);
  _tile_loadd(5, lower, kTileRowBytes);
}

// kColumns tiles of B, side by side.
template <int kColumns>
void LoadB(const std::byte* from, size_t row_bytes) {
  _tile_loadd(6, from, row_bytes);
  if constexpr (kColumns == 2) _tile_loadd(7, from + kTileRowBytes, row_bytes);
}

template <int kColumns>
void MultiplyAdd() {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(2, 5, 6);
  if constexpr (kColumns == 2) {
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
}

// Sums from or to [32, 16 * kColumns] floats, `stride` floats apart.
template <int kColumns>
void LoadSums(const float* from, size_t stride) {
  const size_t bytes = stride * sizeof(float);
  const float* const lower = from + kTileRows * stride;
  _tile_loadd(0, from, bytes);
  _tile_loadd(2, lower, bytes);
  if constexpr (kColumns == 2) {
    _tile_loadd(1, from + kTileColumns, bytes);
    _tile_loadd(3, lower + kTileColumns, bytes);
  }
}

template <int kColumns>
void StoreSums(float* to, size_t stride) {
  const size_t bytes = stride * sizeof(float);
  float* const lower = to + kTileRows * stride;
  _tile_stored(0, to, bytes);
  _tile_stored(2, lower, bytes);
  if constexpr (kColumns == 2) {
    _tile_stored(1, to + kTileColumns, bytes);
    _tile_stored(3, lower + kTileColumns, bytes);
  }
}

}  // namespace
}  // namespace kvpareto::cpu
