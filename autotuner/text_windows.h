// Windows of real text to measure on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

// `count` windows of `tokens` tokens each, evenly spread over the text, not overlapping. When the
// model's tokenizer puts a BOS token first, every window begins with it. Errors: of
// Engine::Tokenize; INVALID_ARGUMENT (TEXT_TOO_SHORT).
absl::StatusOr<std::vector<std::vector<int32_t>>> CutWindows(const Engine& engine,
                                                             const std::string& text, int count,
                                                             int64_t tokens);

}  // namespace kvpareto::tune
