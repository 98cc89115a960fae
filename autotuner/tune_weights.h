// The weights of a run: files that are there, or made of others by AWQ.
#pragma once

#include "autotuner/tune_spec.h"

namespace kvpareto::tune {

// Quantizes weights of kind awq4 that are not there from `from`, on the calibration's texts.
// Errors: INVALID_ARGUMENT (TUNE_OPTION_INVALID) when they are not there and `from` or texts are
// missing; of QuantizeAwq and the texts.
absl::Status MakeWeights(const TuneSpec& spec, const WeightsSpec& weights);

}  // namespace kvpareto::tune
