#include "engine/cpu/tile_decode_avx512.h"

namespace kvpareto::cpu {

void DecodeToFloats(const DecodeTask& task, float* out) {
  DecodeTileGranules(task, [out](int granule, const Pairs& values) {
    _mm512_storeu_ps(out + granule * kGranule, values.first);
    _mm512_storeu_ps(out + granule * kGranule + 16, values.second);
  });
}

}  // namespace kvpareto::cpu
