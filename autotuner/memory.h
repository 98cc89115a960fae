// Bytes of a KV config, exactly: arithmetic, not measurement.
#pragma once

#include "engine/engine.h"

namespace kvpareto::tune {

struct MemoryCost {
  double bytes_per_token = 0.0;  // of sealed blocks: what one more token costs in the long run
  uint64_t fixed_bytes = 0;      // sink, open and recent blocks, at their largest
};

MemoryCost CostOf(const KvConfig& config, const ModelConfig& model);

}  // namespace kvpareto::tune
