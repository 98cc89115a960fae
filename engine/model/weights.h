// A model's weights on a backend.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/model_source.h"
#include "engine/ops/backend.h"

namespace kvpareto {

struct LayerWeights {
  std::unique_ptr<Weight> attn_norm;    // [hidden]
  std::unique_ptr<Weight> qkv;          // [(heads + 2 kv_heads) * head_dim, hidden]
  std::unique_ptr<Weight> qkv_bias;     // [(heads + 2 kv_heads) * head_dim] or null
  std::unique_ptr<Weight> q_norm;       // [head_dim] or null
  std::unique_ptr<Weight> k_norm;       // [head_dim] or null
  std::unique_ptr<Weight> attn_output;  // [hidden, heads * head_dim]
  std::unique_ptr<Weight> ffn_norm;     // [hidden]
  std::unique_ptr<Weight> gate_up;      // [2 ffn, hidden]
  std::unique_ptr<Weight> ffn_down;     // [hidden, ffn]
};

struct ModelWeights {
  std::unique_ptr<Weight> embedding;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  std::unique_ptr<Weight> output_norm;  // [hidden]
  std::unique_ptr<Weight> output;       // [vocab, hidden]; null when tied to the embedding

  const Weight& head() const { return output ? *output : *embedding; }
  size_t resident_bytes() const;
};

// Errors: those of the source (missing tensor) and of Backend::LoadWeight, naming the tensor.
absl::StatusOr<ModelWeights> LoadWeights(const ModelSource& source, Backend& backend);

// For calibration, as floats in the engine's row order: the bias of a layer's K projection
// [kv_heads, head_dim] (empty: it has none), and its attention output projection [hidden, heads *
// head_dim].
absl::StatusOr<std::vector<float>> ReadKeyBias(const ModelSource& source, int layer);
absl::StatusOr<std::vector<float>> ReadOutputProjection(const ModelSource& source, int layer);

}  // namespace kvpareto
