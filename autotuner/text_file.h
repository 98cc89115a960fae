// Texts to measure on, as they are read from files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

// Errors: NOT_FOUND (FILE_NOT_READABLE).
absl::StatusOr<std::string> ReadTextFile(const std::string& path);
// Errors: INTERNAL (FILE_NOT_WRITABLE).
absl::Status WriteTextFile(const std::string& path, const std::string& content);

// Prose as one line a paragraph: single newlines become spaces, empty lines stay. Books wrapped at
// 70 columns would otherwise be measured on their line breaks.
std::string JoinLines(std::string_view text);

// Whether a file of this name holds code, whose lines mean something.
bool IsCode(std::string_view path);

struct TokenizedText {
  std::string name;  // the file's
  std::vector<int32_t> tokens;
};

// `tokens` tokens of a file, from the first character at or after `skip_bytes` of its text (after
// carriage returns are dropped and, but for code, lines joined). Errors: NOT_FOUND
// (FILE_NOT_READABLE); INVALID_ARGUMENT (TEXT_TOO_SHORT); of Engine::Tokenize.
absl::StatusOr<TokenizedText> LoadText(const Engine& engine, const std::string& path,
                                       int64_t skip_bytes, int64_t tokens);

}  // namespace kvpareto::tune
