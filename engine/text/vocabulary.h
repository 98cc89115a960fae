// Token texts and their ids.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/status.h"
#include "engine/text/tokenizer_spec.h"

namespace kvpareto {

// The error of a spec that contradicts itself.
absl::Status InvalidTokenizer(const std::string& message);

// Immutable and thread-safe; not movable, because the index refers to the texts.
class Vocabulary {
 public:
  // Takes what it needs from `spec`, which must have passed Check.
  explicit Vocabulary(const TokenizerSpec& spec);
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  // Errors: INVALID_ARGUMENT (TOKENIZER_INVALID).
  static absl::Status Check(const TokenizerSpec& spec);

  int32_t size() const { return static_cast<int32_t>(texts_.size()); }
  bool contains(int32_t token) const { return token >= 0 && token < size(); }
  // `token` must be contained.
  const std::string& text(int32_t token) const { return texts_[token]; }
  TokenKind kind(int32_t token) const { return kinds_[token]; }
  // Control tokens: markers of structure that stand for no text.
  bool IsSpecial(int32_t token) const;
  // Normal and user-defined tokens: those that text can be made of.
  bool IsTextual(int32_t token) const;
  // The lowest id with this text, or -1. Unused entries are not found.
  int32_t Find(std::string_view text) const;
  size_t max_text_bytes() const { return max_text_bytes_; }

 private:
  std::vector<std::string> texts_;
  std::vector<TokenKind> kinds_;
  absl::flat_hash_map<std::string_view, int32_t, std::hash<std::string_view>> ids_;
  size_t max_text_bytes_ = 0;
};

}  // namespace kvpareto
