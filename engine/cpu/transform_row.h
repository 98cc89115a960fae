// The transforms of kv/transform.h on a few tokens' rows of activations.
#pragma once

#include <span>

#include "engine/cpu/elementwise.h"
#include "engine/ops/backend.h"

namespace kvpareto::cpu {

// Rows that go through the matrices together: a matrix (16 KB at 64 channels) is read once for all.
inline constexpr int kTransformRows = 8;

// Where one token's vectors stand.
struct TransformRow {
  float* q = nullptr;           // [heads, head_dim]
  float* k = nullptr;           // [kv_heads, head_dim]
  float* v = nullptr;           // [kv_heads, head_dim]
  float* bias_query = nullptr;  // [heads, head_dim] or null
  int position = 0;
};

// As Backend::TransformKv and TransformOutput, for up to kTransformRows rows. A row's result does
// not depend on the others.
void TransformKvRows(const ElementwiseKernels& kernels, const LayerTransform& transform,
                     const TransformKvArgs& args, std::span<const TransformRow> rows);
void TransformOutputRows(const ElementwiseKernels& kernels, const LayerTransform& transform,
                         const TransformOutputArgs& args, std::span<float* const> rows);

}  // namespace kvpareto::cpu
