// Row-wise kernels: pointers to one row each, chosen by instruction set.
#pragma once

#include "engine/cpu/isa.h"

namespace kvpareto::cpu {

inline constexpr int kMaxMultiply = 256;

struct ElementwiseKernels {
  // y = x / sqrt(mean(x^2) + epsilon) * weight; y may be x.
  void (*rms_norm)(const float* x, const float* weight, int cols, float epsilon, float* y);
  // cosine, sine [pairs] of position * inverse_frequency.
  void (*rope_angles)(int position, const float* inverse_frequency, int pairs, float* cosine,
                      float* sine);
  // Rotates (x[i], x[i + pairs]) of one head in place.
  void (*rope)(const float* cosine, const float* sine, int pairs, float* x);
  // Each of `count` vectors x becomes y[o] = sum_i x[i] matrix[i][o]; matrix [n, n] row-major, n up
  // to kMaxMultiply. The order of a vector's sums depends on nothing else.
  void (*multiply_rows)(float* const* x, int count, const float* matrix, int n);
  // y = gate / (1 + exp(-gate)) * up
  void (*silu_mul)(const float* gate, const float* up, int cols, float* y);
};

extern const ElementwiseKernels kElementwiseScalar;
extern const ElementwiseKernels kElementwiseAvx2;
extern const ElementwiseKernels kElementwiseAvx512;

inline const ElementwiseKernels& ElementwiseFor(Isa isa) {
  return isa == Isa::kScalar ? kElementwiseScalar
         : isa == Isa::kAvx2 ? kElementwiseAvx2
                             : kElementwiseAvx512;
}

}  // namespace kvpareto::cpu
