// Quantities as people write them in configuration files.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "engine/base/status.h"

namespace kvpareto {

// "4096", "64MiB", "1.5GiB", "500MB": a number and an optional unit (B, KiB, MiB, GiB, TiB by 1024;
// kB, MB, GB, TB by 1000). Rounded down to whole bytes. Errors: INVALID_ARGUMENT.
absl::StatusOr<uint64_t> ParseByteSize(std::string_view text);

// "500ms", "30s", "2m", "1h", "1.5s": the unit is not optional. Errors: INVALID_ARGUMENT.
absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text);

}  // namespace kvpareto
