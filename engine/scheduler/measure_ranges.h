// The ranges of keys and values in a filled bf16 cache.
#pragma once

#include "engine/model/calibration.h"
#include "engine/model/model_config.h"
#include "engine/ops/backend.h"
#include "engine/scheduler/sequence_cache.h"

namespace kvpareto {

// Widens `calibration` (empty at first) so that it covers all tokens of `cache`, whose blocks are
// all bf16.
void WidenRanges(const SequenceCache& cache, const ModelConfig& model, Backend& backend,
                 Calibration& calibration);

}  // namespace kvpareto
