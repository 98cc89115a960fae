// AMX tiles in plain code, so that kernels on tiles run on machines without them: included before
// such a kernel's header, its intrinsics mean these. What the processor refuses is noted.
// Everything is in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include <cstring>

#include "engine/cpu/tile_session_amx.h"

namespace kvpareto::cpu {
namespace {

class EmulatedTiles {
 public:
  void Configure(const TileConfig& config) {
    config_ = config;
    valid_ = true;
  }
  // Whether operands of all products since then fitted.
  bool valid() const { return valid_; }

  void Zero(int tile) { std::memset(bytes_[tile], 0, sizeof(bytes_[tile])); }
  void Load(int tile, const void* from, size_t stride) {
    Zero(tile);
    for (int r = 0; r < config_.rows[tile]; ++r) {
      std::memcpy(bytes_[tile][r], static_cast<const char*>(from) + r * stride,
                  config_.row_bytes[tile]);
    }
  }
  void Store(int tile, void* to, size_t stride) const {
    for (int r = 0; r < config_.rows[tile]; ++r) {
      std::memcpy(static_cast<char*>(to) + r * stride, bytes_[tile][r], config_.row_bytes[tile]);
    }
  }
  // Sums of the products of four bytes; those of `b` are unsigned.
  template <typename A>
  void MultiplyBytes(int sums, int a, int b) {
    valid_ = valid_ && config_.rows[a] == config_.rows[sums] &&
             config_.row_bytes[a] == 4 * config_.rows[b] &&
             config_.row_bytes[b] == config_.row_bytes[sums];
    for (int m = 0; m < config_.rows[sums]; ++m) {
      for (int n = 0; n < config_.row_bytes[sums]; ++n) {
        const int column = n / 4 * 4;
        int32_t sum;
        std::memcpy(&sum, bytes_[sums][m] + column, sizeof(sum));
        for (int k = n % 4; k < config_.row_bytes[a]; k += 4) {
          sum += static_cast<A>(bytes_[a][m][k]) * bytes_[b][k / 4][n];
        }
        std::memcpy(bytes_[sums][m] + column, &sum, sizeof(sum));
      }
    }
  }

 private:
  TileConfig config_;
  uint8_t bytes_[8][16][64];
  bool valid_ = true;
};

EmulatedTiles emulated_tiles;

}  // namespace
}  // namespace kvpareto::cpu

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#undef _tile_dpbuud
#define _tile_zero(tile) emulated_tiles.Zero(tile)
#define _tile_loadd(tile, from, stride) emulated_tiles.Load(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated_tiles.Store(tile, to, stride)
#define _tile_dpbsud(sums, a, b) emulated_tiles.MultiplyBytes<int8_t>(sums, a, b)
#define _tile_dpbuud(sums, a, b) emulated_tiles.MultiplyBytes<uint8_t>(sums, a, b)
