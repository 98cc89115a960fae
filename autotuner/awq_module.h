// The parts of a layer whose output AWQ compares: what comes out of given linear layers, in float.
#pragma once

#include "autotuner/awq_layer.h"
#include "autotuner/matrix_product.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// y = x w^T.
Matrix LinearOutput(const PackedRows& x, const Matrix& w, int threads);

// Self-attention of a layer over samples of sample_rows tokens each, all from position 0: x is the
// normed residual stream [tokens, hidden], the result [tokens, hidden]. `layer` gives Q, K, V and
// output projections, biases and norms.
struct AttentionModule {
  const ModelConfig* config = nullptr;
  int sample_rows = 0;
  int threads = 0;

  Matrix Output(const PackedRows& x, const AwqLayer& layer) const;

  // What its output projection is applied to, [tokens, heads * head_dim]. `received`, if not null,
  // becomes [tokens]: of every token, the sum over query heads and queries of the square of the
  // attention that it gets.
  Matrix Attend(const PackedRows& x, const AwqLayer& layer, std::vector<float>* received) const;
};

// silu(gate(x)) * up(x), [tokens, ffn].
Matrix FfnProduct(const PackedRows& x, const AwqLayer& layer, int threads);

// down(FfnProduct), [tokens, hidden].
Matrix FfnOutput(const PackedRows& x, const AwqLayer& layer, int threads);

}  // namespace kvpareto::tune
