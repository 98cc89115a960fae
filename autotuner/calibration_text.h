// The text that a model is calibrated on: whole files, cut into pieces.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

struct NamedText {
  std::string name;  // for people
  std::string text;
};

struct TextPieces {
  std::vector<std::vector<int32_t>> pieces;  // each is run from position 0
  int64_t tokens = 0;                        // of all pieces
  std::string description;                   // names, digests and tokens of the texts
};

// At most `tokens` tokens in pieces of at most `piece_tokens`. The texts take turns, so that each
// gives about as much, until there is enough or all are used up. When the model's tokenizer puts a
// BOS token first, every piece begins with it. Errors: of Engine::Tokenize; INVALID_ARGUMENT
// (TEXT_TOO_SHORT) for fewer than kMinCalibrationTokens in all.
absl::StatusOr<TextPieces> CutPieces(const Engine& engine, const std::vector<NamedText>& texts,
                                     int64_t tokens, int64_t piece_tokens);

inline constexpr int64_t kMinCalibrationTokens = 256;

}  // namespace kvpareto::tune
