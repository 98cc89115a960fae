// What the linear layers of a model are applied to, on calibration text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "autotuner/awq_layer.h"
#include "autotuner/calibration_text.h"
#include "autotuner/progress.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// `samples` runs of `sample_tokens` consecutive tokens, drawn without replacement from all of the
// texts' by `seed`; fewer where there are not so many, a single shorter one where there is none.
// When the model's tokenizer puts a BOS token first, every run begins with it. Errors: of
// Engine::Tokenize; INVALID_ARGUMENT (TEXT_TOO_SHORT) for fewer than kMinCalibrationTokens.
absl::StatusOr<TextPieces> DrawSamples(const Engine& engine, const std::vector<NamedText>& texts,
                                       int samples, int sample_tokens, uint64_t seed);

// Mean magnitudes [layers] of every input over all samples. Errors: of Engine::Observe.
using MeanMagnitudes = std::array<std::vector<float>, kLayerInputs>;
absl::StatusOr<std::vector<MeanMagnitudes>> ObserveMeans(
    Engine& engine, const std::vector<std::vector<int32_t>>& samples, Progress& progress);

// The rows of layers [first, last) on samples of equal length; mean_magnitude stays empty. Errors:
// likewise.
absl::StatusOr<std::vector<AwqInputs>> ObserveRows(Engine& engine,
                                                   const std::vector<std::vector<int32_t>>& samples,
                                                   int first, int last);

}  // namespace kvpareto::tune
