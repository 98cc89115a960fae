// From a task's text to the prompt's tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

// `text` if it has at most `max_tokens` tokens; else what the first and the last max_tokens / 2 of
// them say (LongBench's pred.py: the ends hold instructions and question). Bytes of a character
// that the cut splits become U+FFFD. Errors: of Engine::Tokenize.
absl::StatusOr<std::string> TruncateMiddle(const Engine& engine, const std::string& text,
                                           int64_t max_tokens);

// Tokens of `text` as a continuation: without the beginning-of-sequence token.
absl::StatusOr<std::vector<int32_t>> TokenizeContinuation(const Engine& engine,
                                                          const std::string& text);

// The prompt's tokens: `user` as the one message of the model's chat template or, without `chat`,
// as it is; then the beginning of the answer. Errors: of Engine::Tokenize.
absl::StatusOr<std::vector<int32_t>> MakePrompt(const Engine& engine, const std::string& user,
                                                bool chat, const std::string& answer_prefix = "");

}  // namespace kvpareto::tune
