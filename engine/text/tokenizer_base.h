// What all tokenizers share: the vocabulary, tokens written out in text, and the way back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/text/added_tokens.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"

namespace kvpareto {

class TokenizerBase : public Tokenizer {
 public:
  explicit TokenizerBase(const TokenizerSpec& spec);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              EncodeOptions options) const final;
  std::string TokenBytes(int32_t token, bool with_special) const final;
  std::string Decode(std::span<const int32_t> tokens, bool with_special) const override;
  int32_t vocab_size() const final { return vocabulary_.size(); }
  bool IsSpecial(int32_t token) const final;
  bool adds_bos() const final { return add_bos_; }
  std::string_view TokenText(int32_t token) const final;
  int32_t FindToken(std::string_view text) const final { return vocabulary_.Find(text); }

 protected:
  // Appends the tokens of text that lies between added tokens (not empty, valid UTF-8). `first`: it
  // is the beginning of the whole text.
  virtual absl::Status EncodeSegment(std::string_view segment, bool first,
                                     std::vector<int32_t>& out) const = 0;
  // The bytes of a token that is neither special nor user-defined.
  virtual std::string OrdinaryBytes(int32_t token) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  AddedTokens user_defined_;              // always matched
  AddedTokens user_defined_and_special_;  // matched with parse_special
  bool add_bos_;
  int32_t bos_token_;
};

}  // namespace kvpareto
