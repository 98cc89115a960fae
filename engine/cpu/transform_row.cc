#include "engine/cpu/transform_row.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/cpu/attention_task.h"

namespace kvpareto::cpu {
namespace {

void Multiply(const ElementwiseKernels& kernels, const float* matrix, int n, float* x) {
  if (matrix == nullptr) return;
  float product[kMaxHeadDim];
  kernels.multiply_row(x, matrix, n, product);
  std::copy_n(product, n, x);
}

void Subtract(const float* offset, int n, float* x) {
  if (offset == nullptr) return;
  for (int i = 0; i < n; ++i) x[i] -= offset[i];
}

// [q1 b1 + q2 b2 | q2 b1 - q1 b2]
void MakeBiasQuery(const float* q, const float* bias, int pairs, float* to) {
  for (int i = 0; i < pairs; ++i) {
    const float q1 = q[i], q2 = q[i + pairs], b1 = bias[i], b2 = bias[i + pairs];
    to[i] = q1 * b1 + q2 * b2;
    to[i + pairs] = q2 * b1 - q1 * b2;
  }
}

}  // namespace

void TransformKvRow(const ElementwiseKernels& kernels, const LayerTransform& transform,
                    const TransformKvArgs& args, const TransformRow& row) {
  const int n = args.head_dim;
  KVP_CHECK(n <= kMaxHeadDim);
  const size_t square = static_cast<size_t>(n) * n;
  const auto matrix_of = [&](const float* matrices, int kv_head) {
    return matrices == nullptr ? nullptr : matrices + kv_head * square;
  };
  const auto vector_of = [&](const float* vectors, int kv_head) {
    return vectors == nullptr ? nullptr : vectors + kv_head * n;
  };
  float cosine[kMaxHeadDim], sine[kMaxHeadDim];
  if (transform.key_bias != nullptr) {
    kernels.rope_angles(row.position, args.inverse_frequency.data(), n / 2, cosine, sine);
  }
  const int group = args.heads / args.kv_heads;
  for (int h = 0; h < args.kv_heads; ++h) {
    const float* bias = vector_of(transform.key_bias, h);
    float* k = row.k + h * n;
    if (bias != nullptr) {
      float rotated[kMaxHeadDim];
      std::copy_n(bias, n, rotated);
      kernels.rope(cosine, sine, n / 2, rotated);
      Subtract(rotated, n, k);
    }
    Subtract(vector_of(transform.key_center, h), n, k);
    Multiply(kernels, matrix_of(transform.key_matrix, h), n, k);
    for (int g = h * group; g < (h + 1) * group; ++g) {
      float* q = row.q + g * n;
      if (bias != nullptr) MakeBiasQuery(q, bias, n / 2, row.bias_query + g * n);
      Multiply(kernels, matrix_of(transform.query_matrix, h), n, q);
    }
    float* v = row.v + h * n;
    Subtract(vector_of(transform.value_center, h), n, v);
    Multiply(kernels, matrix_of(transform.value_matrix, h), n, v);
  }
}

void TransformOutputRow(const ElementwiseKernels& kernels, const LayerTransform& transform,
                        const TransformOutputArgs& args, float* out) {
  const int n = args.head_dim;
  const int group = args.heads / args.kv_heads;
  const size_t square = static_cast<size_t>(n) * n;
  for (int head = 0; head < args.heads; ++head) {
    float* o = out + head * n;
    const int kv_head = head / group;
    if (transform.output_matrix != nullptr) {
      Multiply(kernels, transform.output_matrix + kv_head * square, n, o);
    }
    if (transform.value_center == nullptr) continue;
    for (int i = 0; i < n; ++i) o[i] += transform.value_center[kv_head * n + i];
  }
}

}  // namespace kvpareto::cpu
