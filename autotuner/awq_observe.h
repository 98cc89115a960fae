// What the linear layers of a model are applied to, on calibration text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "autotuner/awq_layer.h"
#include "autotuner/calibration_text.h"
#include "autotuner/hessian.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// `samples` runs of `sample_tokens` consecutive tokens, drawn without replacement from all of the
// texts' by `seed`; fewer where there are not so many, a single shorter one where there is none.
// When the model's tokenizer puts a BOS token first, every run begins with it. Errors: of
// Engine::Tokenize; INVALID_ARGUMENT (TEXT_TOO_SHORT) for fewer than kMinCalibrationTokens.
absl::StatusOr<TextPieces> DrawSamples(const Engine& engine, const std::vector<NamedText>& texts,
                                       int samples, int sample_tokens, uint64_t seed);

// What is kept of what a layer's linears are applied to.
struct AwqInputs {
  // Of the first search_samples samples, one after the other.
  std::array<Matrix, kLayerInputs> rows;                             // [tokens, in]
  int sample_rows = 0;                                               // tokens of a sample
  std::vector<float> value_weights, attention_weights, ffn_weights;  // as LayerActivations has them
  // Of all samples.
  std::array<std::vector<float>, kLayerInputs> mean_magnitude;  // [in]
  std::array<Hessian, kLayerInputs> hessians;                   // empty unless asked for
  Hessian value_hessian;                                        // of V, which shares its input

  Matrix& operator[](LayerInput input) { return rows[static_cast<size_t>(input)]; }
  const Matrix& operator[](LayerInput input) const { return rows[static_cast<size_t>(input)]; }
  const Hessian& HessianOf(Linear linear) const;
};

struct ObserveOptions {
  int search_samples = 4;
  bool hessians = true;
  int threads = 0;
};

// What a layer makes of the residual streams of all samples, each [tokens, hidden], of as many
// tokens.
// Errors: OUT_OF_RANGE (ACTIVATION_NOT_FINITE) when an input of a linear layer overflows.
absl::StatusOr<AwqInputs> ObserveLayer(const ModelConfig& config, const AwqLayer& layer,
                                       const ObserveOptions& options,
                                       const std::vector<Matrix>& streams);

}  // namespace kvpareto::tune
