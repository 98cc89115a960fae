// Speed of KV configs, as one request sees it.
#pragma once

#include <cstdint>
#include <span>

#include "engine/engine.h"

namespace kvpareto::tune {

struct SpeedOptions {
  int64_t context_tokens = 2048;  // prompt length; decode is measured right behind it
  int decode_tokens = 32;
  int repeats = 3;  // medians are reported
};

// Submits `prompt` alone, pinned to `config`, and times it. Errors: of Engine::Prepare and Submit,
// and the request's own final status.
absl::StatusOr<SpeedPoint> MeasureSpeed(Engine& engine, std::span<const int32_t> prompt,
                                        const KvConfig& config, const SpeedOptions& options);

}  // namespace kvpareto::tune
