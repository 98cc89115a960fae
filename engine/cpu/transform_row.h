// The transforms of kv/transform.h on one token's row of activations.
#pragma once

#include "engine/cpu/elementwise.h"
#include "engine/ops/backend.h"

namespace kvpareto::cpu {

// Where one token's vectors stand.
struct TransformRow {
  float* q = nullptr;           // [heads, head_dim]
  float* k = nullptr;           // [kv_heads, head_dim]
  float* v = nullptr;           // [kv_heads, head_dim]
  float* bias_query = nullptr;  // [heads, head_dim] or null
  int position = 0;
};

// As Backend::TransformKv and TransformOutput, for one row.
void TransformKvRow(const ElementwiseKernels& kernels, const LayerTransform& transform,
                    const TransformKvArgs& args, const TransformRow& row);
void TransformOutputRow(const ElementwiseKernels& kernels, const LayerTransform& transform,
                        const TransformOutputArgs& args, float* out);

}  // namespace kvpareto::cpu
