// Byte counts and shares as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kvpareto::cli {

// "64MiB", "1.5 GiB", "500kB", "1048576": a number and an optional unit, binary (KiB MiB GiB TiB)
// or decimal (kB MB GB TB). Errors: INVALID_ARGUMENT saying what is wrong.
absl::StatusOr<uint64_t> ParseBytes(std::string_view text);

// "0 B", "17.3 KiB", "1.25 GiB": three significant digits, binary units.
std::string FormatBytes(uint64_t bytes);

// "1,234,567".
std::string FormatCount(uint64_t count);

// A bar of `width` cells, `share` (0..1) of them filled, in eighths of a cell; plain '#' and '.'
// when the terminal may not know the block characters.
std::string Bar(double share, int width, bool unicode);

}  // namespace kvpareto::cli
