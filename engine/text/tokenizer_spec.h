// A tokenizer as data, whatever file it came from. Loaders fill it, Tokenizer::Create checks it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace kvpareto {

enum class TokenKind : uint8_t { kNormal, kSpecial, kUserDefined, kByte, kUnknown, kUnused };

struct TokenizerSpec {
  enum class Model : uint8_t { kByteLevelBpe, kSentencePieceBpe };
  // How text is cut before BPE merges (byte-level BPE only).
  enum class PreTokenizer : uint8_t { kGpt2, kSmolLm, kQwen2, kLlama3 };

  Model model = Model::kByteLevelBpe;
  PreTokenizer pre_tokenizer = PreTokenizer::kGpt2;
  std::vector<std::string> tokens;  // by id; byte-level BPE tokens in GPT-2's byte alphabet
  std::vector<TokenKind> kinds;     // by id
  std::vector<float> scores;        // by id; SentencePiece: merge order when there are no merges
  std::vector<std::pair<std::string, std::string>> merges;  // in rank order
  bool normalize_nfc = false;
  bool add_bos = false;
  // SentencePiece: a space is put before the text, and again before text that follows a special
  // token, unless ... (tokenizer.json's Metaspace sets the last one, and with prepend_scheme
  // "first" both; its older form, the normalizer Prepend, neither).
  bool add_space_prefix = false;
  bool space_prefix_first_only = false;   // ... it is not the very beginning,
  bool space_prefix_not_doubled = false;  // ... the text starts with a space itself.
  bool ignore_merges = false;  // Llama-3: a whole pre-token in the vocabulary is taken as is
  bool byte_fallback = false;
  int32_t bos_token = -1;
  int32_t unknown_token = -1;
};

}  // namespace kvpareto
