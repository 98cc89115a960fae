// What the linear layers of a model are applied to on calibration text: a walk through the model in
// float, layer by layer.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "autotuner/awq_layer.h"
#include "engine/engine.h"
#include "engine/model_files.h"

namespace kvpareto::tune {

// The residual stream of samples before the first layer: embeddings of their tokens, each [tokens,
// hidden]. Errors: of ModelFiles::ReadRows.
absl::StatusOr<std::vector<Matrix>> EmbedSamples(const ModelFiles& files,
                                                 const std::vector<std::vector<int32_t>>& samples);

// What one layer computes of one sample.
struct LayerActivations {
  std::array<Matrix, kLayerInputs> inputs;  // of its linear layers, [tokens, in]
  // Of every token, what a square error counts, [tokens]: of its values, the sum over query heads
  // and queries of the square of the attention that it gets; of the outputs of self-attention and
  // of the FFN, 1 / |x|^2 of the residual stream x with that output added. The norm before the next
  // layer divides a token by its size, so errors count by how far they turn it. In a plain sum few
  // tokens would decide: the first of a text is often hundreds of times as large as others (Sun et
  // al., "Massive Activations in Large Language Models", arXiv 2402.17762).
  std::vector<float> value_weights, attention_weights, ffn_weights;
};

// Takes the stream x [tokens, hidden] of a sample, from position 0, through a layer.
LayerActivations ApplyLayer(const ModelConfig& config, const AwqLayer& layer, int threads,
                            Matrix& x);

}  // namespace kvpareto::tune
