// AWQ's scales: input features that carry large activations are multiplied by s before rounding,
// and what feeds them is divided by s, so that their weights are rounded more finely.
#pragma once

#include <vector>

#include "autotuner/awq_layer.h"
#include "autotuner/awq_observe.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct ScaleSearchOptions {
  int group_size = 128;
  int grid = 20;
  int threads = 0;
};

// The best scales of the linear layers that share `input`.
struct AwqScales {
  LayerInput input = LayerInput::kAttention;
  std::vector<float> scales;    // [in]
  double ratio = 0.0;           // the exponent that gave them
  double error = 0.0;           // of the module's output: mean square, tokens weighted
  double rounding_error = 0.0;  // of plain rounding
};

// Tries, for ratios r = 0, 1 / grid, ..., the scales
//   s = mean|x|^r / (mean|w|^(1 - r) + 1e-4), at least 1e-4, divided by sqrt(max s * min s),
// where |w| is relative to the largest weight of its group, and keeps those with the smallest
// error, tokens weighted as `inputs` says, of what the module puts out: self-attention, the output
// projection, the whole FFN, or its down projection. Sets that cannot be scaled are left out: what
// feeds the output projection are values, which several query heads share under grouped-query
// attention.
std::vector<AwqScales> SearchScales(const ModelConfig& model, const AwqLayer& layer,
                                    const AwqInputs& inputs, const ScaleSearchOptions& options);

// Multiplies the weights of the set's input features, and divides what feeds them (a norm, the rows
// of a linear layer) and the observed inputs.
void ApplyScales(const AwqScales& scales, AwqLayer& layer, AwqInputs& inputs);

}  // namespace kvpareto::tune
