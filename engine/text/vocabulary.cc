#include "engine/text/vocabulary.h"

#include <algorithm>
#include <limits>

#include "engine/text/tokenizer.h"

namespace kvpareto {

absl::Status InvalidTokenizer(const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "TOKENIZER_INVALID",
                   "tokenizer: " + message);
}

absl::Status Vocabulary::Check(const TokenizerSpec& spec) {
  const size_t size = spec.tokens.size();
  if (size == 0) return InvalidTokenizer("the vocabulary is empty");
  if (size > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return InvalidTokenizer("the vocabulary is too large");
  }
  if (spec.kinds.size() != size) {
    return InvalidTokenizer(std::to_string(size) + " tokens but " +
                            std::to_string(spec.kinds.size()) + " token kinds");
  }
  if (!spec.scores.empty() && spec.scores.size() != size) {
    return InvalidTokenizer(std::to_string(size) + " tokens but " +
                            std::to_string(spec.scores.size()) + " scores");
  }
  for (size_t id = 0; id < size; ++id) {
    if (!IsValidUtf8(spec.tokens[id])) {
      return InvalidTokenizer("token " + std::to_string(id) + " is not UTF-8");
    }
  }
  for (const int32_t id : {spec.bos_token, spec.unknown_token}) {
    if (id < -1 || id >= static_cast<int64_t>(size)) {
      return InvalidTokenizer("no token " + std::to_string(id) + " in a vocabulary of " +
                              std::to_string(size));
    }
  }
  if (spec.add_bos && spec.bos_token < 0) {
    return InvalidTokenizer("a beginning-of-sequence token is wanted but there is none");
  }
  return absl::OkStatus();
}

Vocabulary::Vocabulary(const TokenizerSpec& spec) : texts_(spec.tokens), kinds_(spec.kinds) {
  ids_.reserve(texts_.size());
  for (int32_t id = 0; id < size(); ++id) {
    if (kinds_[id] == TokenKind::kUnused) continue;
    ids_.try_emplace(texts_[id], id);
    max_text_bytes_ = std::max(max_text_bytes_, texts_[id].size());
  }
}

bool Vocabulary::IsSpecial(int32_t token) const {
  return kinds_[token] == TokenKind::kSpecial || kinds_[token] == TokenKind::kUnknown;
}

bool Vocabulary::IsTextual(int32_t token) const {
  return kinds_[token] == TokenKind::kNormal || kinds_[token] == TokenKind::kUserDefined;
}

int32_t Vocabulary::Find(std::string_view text) const {
  const auto it = ids_.find(text);
  return it == ids_.end() ? -1 : it->second;
}

}  // namespace kvpareto
