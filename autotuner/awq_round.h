// The last step of AWQ: a layer's scaled weights as codes.
#pragma once

#include "autotuner/awq_layer.h"
#include "autotuner/awq_observe.h"

namespace kvpareto::tune {

enum class Rounding : uint8_t {
  kNearest,
  kGptq,  // with error compensation (gptq.h)
};

struct AwqRoundOptions {
  Rounding rounding = Rounding::kGptq;
  bool clip = true;  // V's groups
  int group_size = 128;
  int threads = 0;
};

// Scales and zeros come from the weights as they are, those of V, if `clip`, from clipped ones.
// `inputs` are those of the layer's weights, with Hessians for kGptq; rounding to the nearest
// without clips does not look at them. Errors: OUT_OF_RANGE (ACTIVATION_NOT_FINITE).
absl::StatusOr<AwqCodes> RoundLayer(const AwqLayer& layer, const AwqInputs& inputs,
                                    const AwqRoundOptions& options);

}  // namespace kvpareto::tune
