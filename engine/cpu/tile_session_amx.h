// Configuration of the AMX tile registers. Everything is in an anonymous namespace (see
// tile_decode_avx512.h).
//
// The compiler does not know that tile instructions read and write memory (g++ 12's intrinsics name
// no operand for it): OrderMemory() stands between ordinary accesses and those of tiles.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace kvpareto::cpu {
namespace {

[[gnu::always_inline]] inline void OrderMemory() { asm volatile("" ::: "memory"); }

// The operand of ldtilecfg; by default eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);
constexpr TileConfig kWholeTiles;

// Tiles are zero then.
inline void ConfigureTiles(const TileConfig& config) {
  asm volatile("ldtilecfg %0" ::"m"(config) : "memory");
}

inline void ReleaseTiles() { asm volatile("tilerelease" ::: "memory"); }

// Configures the tiles for its lifetime.
class TileSession {
 public:
  explicit TileSession(const TileConfig& config = kWholeTiles) { ConfigureTiles(config); }
  ~TileSession() { ReleaseTiles(); }
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;
};

}  // namespace
}  // namespace kvpareto::cpu
