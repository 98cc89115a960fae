// Unicode normalization form C, by the tables of the utf8proc library.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace kvpareto {

// `text` (valid UTF-8) in NFC, in O(n log n). Errors: INTERNAL (NORMALIZATION_FAILED).
absl::StatusOr<std::string> NormalizeNfc(std::string_view text);

}  // namespace kvpareto
