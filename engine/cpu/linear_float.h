// Prefill rows on AVX2 and AVX-512 in f32.
#pragma once

#include <cstddef>

#include "engine/cpu/packed_format.h"

namespace kvpareto::cpu {

inline constexpr int kFloatRowsPerPass = 12;

// out [rows, panels, 16] = x [rows <= 12, cols] times `panels` (1 or 2) decoded panels
// [panels, padded_cols, 16]. Every sum runs over columns in order.
void MultiplyFloatAvx2(const float* decoded, size_t panel_stride, int panels, const float* x,
                       int cols, int rows, float* out);
void MultiplyFloatAvx512(const float* decoded, size_t panel_stride, int panels, const float* x,
                         int cols, int rows, float* out);

}  // namespace kvpareto::cpu
