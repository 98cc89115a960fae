#include <immintrin.h>

#include "engine/cpu/linear_tiles.h"

namespace kvpareto::cpu {
namespace {

__mmask16 Mask(int count) {
  return count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
}

}  // namespace

void PackTileRow(const float* x, int rows, int cols, uint16_t* tiles) {
  const int k_tiles = (cols + kTileCols - 1) / kTileCols;
  for (int k = 0; k < k_tiles; ++k, x += kTileCols) {
    const int left = cols - k * kTileCols;
    const __mmask16 low = Mask(left), high = Mask(left > 16 ? left - 16 : 0);
    for (int r = 0; r < kTileRows; ++r, tiles += kTileCols) {
      if (r >= rows) {
        _mm512_storeu_si512(tiles, _mm512_setzero_si512());
        continue;
      }
      const float* from = x + static_cast<size_t>(r) * cols;
      const __m512bh pair = _mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, from + 16),
                                                _mm512_maskz_loadu_ps(low, from));
      _mm512_storeu_si512(tiles, (__m512i)pair);
    }
  }
}

}  // namespace kvpareto::cpu
