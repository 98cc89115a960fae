#include "engine/cpu/transform_row.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/cpu/attention_task.h"

namespace kvpareto::cpu {
namespace {

static_assert(kMaxHeadDim <= kMaxMultiply);

// Head vectors that go through one matrix.
class Vectors {
 public:
  Vectors(const ElementwiseKernels& kernels, const float* matrix, int n)
      : kernels_(kernels), matrix_(matrix), n_(n) {}
  ~Vectors() { Flush(); }
  Vectors(const Vectors&) = delete;
  Vectors& operator=(const Vectors&) = delete;

  void Add(float* x) {
    if (matrix_ == nullptr) return;
    if (count_ == kMost) Flush();
    vectors_[count_++] = x;
  }

 private:
  static constexpr int kMost = 48;  // a multiple of the kernel's block

  void Flush() {
    if (count_ > 0) kernels_.multiply_rows(vectors_, count_, matrix_, n_);
    count_ = 0;
  }

  const ElementwiseKernels& kernels_;
  const float* const matrix_;  // [n, n] or null
  const int n_;
  float* vectors_[kMost];
  int count_ = 0;
};

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

// The KV head's part of [kv_heads, size] floats, or null.
const float* HeadPart(const float* all, int kv_head, size_t size) {
  return all == nullptr ? nullptr : all + kv_head * size;
}

// Takes RoPE_p(b) out of a row's keys and puts the query's part of it aside.
void RemoveBias(const ElementwiseKernels& kernels, const LayerTransform& transform,
                const TransformKvArgs& args, const TransformRow& row) {
  const int n = args.head_dim;
  const int group = args.heads / args.kv_heads;
  float cosine[kMaxHeadDim], sine[kMaxHeadDim];
  kernels.rope_angles(row.position, args.inverse_frequency.data(), n / 2, cosine, sine);
  for (int h = 0; h < args.kv_heads; ++h) {
    const float* bias = HeadPart(transform.key_bias, h, n);
    float rotated[kMaxHeadDim];
    std::copy_n(bias, n, rotated);
    kernels.rope(cosine, sine, n / 2, rotated);
    Subtract(rotated, n, row.k + h * n);
    for (int g = h * group; g < (h + 1) * group; ++g) {
      MakeBiasQuery(row.q + g * n, bias, n / 2, row.bias_query + g * n);
    }
  }
}

}  // namespace

void TransformKvRows(const ElementwiseKernels& kernels, const LayerTransform& transform,
                     const TransformKvArgs& args, std::span<const TransformRow> rows) {
  const int n = args.head_dim;
  KVP_CHECK(n <= kMaxHeadDim);
  if (transform.key_bias != nullptr) {
    for (const TransformRow& row : rows) RemoveBias(kernels, transform, args, row);
  }
  const int group = args.heads / args.kv_heads;
  const size_t square = static_cast<size_t>(n) * n;
  for (int h = 0; h < args.kv_heads; ++h) {
    Vectors keys(kernels, HeadPart(transform.key_matrix, h, square), n);
    Vectors queries(kernels, HeadPart(transform.query_matrix, h, square), n);
    Vectors values(kernels, HeadPart(transform.value_matrix, h, square), n);
    for (const TransformRow& row : rows) {
      Subtract(HeadPart(transform.key_center, h, n), n, row.k + h * n);
      Subtract(HeadPart(transform.value_center, h, n), n, row.v + h * n);
      keys.Add(row.k + h * n);
      values.Add(row.v + h * n);
      for (int g = h * group; g < (h + 1) * group; ++g) queries.Add(row.q + g * n);
    }
  }
}

void TransformOutputRows(const ElementwiseKernels& kernels, const LayerTransform& transform,
                         const TransformOutputArgs& args, std::span<float* const> rows) {
  const int n = args.head_dim;
  const int group = args.heads / args.kv_heads;
  const size_t square = static_cast<size_t>(n) * n;
  for (int h = 0; h < args.kv_heads; ++h) {
    Vectors outputs(kernels, HeadPart(transform.output_matrix, h, square), n);
    for (float* row : rows) {
      for (int g = h * group; g < (h + 1) * group; ++g) outputs.Add(row + g * n);
    }
  }
  if (transform.value_center == nullptr) return;
  for (float* row : rows) {
    for (int head = 0; head < args.heads; ++head) {
      const float* center = HeadPart(transform.value_center, head / group, n);
      for (int i = 0; i < n; ++i) row[head * n + i] += center[i];
    }
  }
}

}  // namespace kvpareto::cpu
