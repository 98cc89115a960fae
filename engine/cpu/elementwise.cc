#include "engine/cpu/elementwise.h"

#include <cmath>

namespace kvpareto::cpu {
namespace {

void RmsNorm(const float* x, const float* weight, int cols, float epsilon, float* y) {
  double sum = 0.0;
  for (int c = 0; c < cols; ++c) sum += static_cast<double>(x[c]) * x[c];
  const float scale = static_cast<float>(1.0 / std::sqrt(sum / cols + epsilon));
  for (int c = 0; c < cols; ++c) y[c] = x[c] * scale * weight[c];
}

void RopeAngles(int position, const float* inverse_frequency, int pairs, float* cosine,
                float* sine) {
  for (int i = 0; i < pairs; ++i) {
    const float angle = static_cast<float>(position) * inverse_frequency[i];
    cosine[i] = std::cos(angle);
    sine[i] = std::sin(angle);
  }
}

void Rope(const float* cosine, const float* sine, int pairs, float* x) {
  for (int i = 0; i < pairs; ++i) {
    const float first = x[i], second = x[i + pairs];
    x[i] = first * cosine[i] - second * sine[i];
    x[i + pairs] = second * cosine[i] + first * sine[i];
  }
}

void MultiplyRows(float* const* x, int count, const float* matrix, int n) {
  for (int v = 0; v < count; ++v) {
    float y[kMaxMultiply] = {};
    for (int i = 0; i < n; ++i) {
      for (int o = 0; o < n; ++o) y[o] += x[v][i] * matrix[static_cast<size_t>(i) * n + o];
    }
    for (int o = 0; o < n; ++o) x[v][o] = y[o];
  }
}

void SiluMul(const float* gate, const float* up, int cols, float* y) {
  for (int c = 0; c < cols; ++c) y[c] = gate[c] / (1.0f + std::exp(-gate[c])) * up[c];
}

}  // namespace

constinit const ElementwiseKernels kElementwiseScalar = {.rms_norm = RmsNorm,
                                                         .rope_angles = RopeAngles,
                                                         .rope = Rope,
                                                         .multiply_rows = MultiplyRows,
                                                         .silu_mul = SiluMul};

}  // namespace kvpareto::cpu
