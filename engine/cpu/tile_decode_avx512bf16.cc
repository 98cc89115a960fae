#include "engine/cpu/tile_decode_avx512.h"

namespace kvpareto::cpu {

void DecodeToBf16(const DecodeTask& task, uint16_t* out) {
  // vcvtne2ps2bf16 leaves the first elements in the lower half, the second ones in the upper.
  alignas(64) uint16_t order[kGranule];
  for (int i = 0; i < 16; ++i) order[2 * i] = i, order[2 * i + 1] = 16 + i;
  const __m512i interleave = _mm512_load_si512(order);
  DecodeTileGranules(task, [out, interleave](int granule, const Pairs& values) {
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(values.second, values.first);
    _mm512_storeu_si512(out + granule * kGranule, _mm512_permutexvar_epi16(interleave, halves));
  });
}

}  // namespace kvpareto::cpu
