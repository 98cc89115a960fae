// SentencePiece-style BPE over characters, as used by Llama-2 and Mistral: spaces are written as
// U+2581, characters outside the vocabulary as byte tokens <0xNN> or the unknown token.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/text/merge_table.h"
#include "engine/text/tokenizer_base.h"

namespace kvpareto {

class SentencePieceTokenizer final : public TokenizerBase {
 public:
  // Errors as Tokenizer::Create. `spec` must have passed Vocabulary::Check.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const TokenizerSpec& spec);

  // Without the one leading space that Encode puts there.
  std::string Decode(std::span<const int32_t> tokens, bool with_special) const override;

 private:
  explicit SentencePieceTokenizer(const TokenizerSpec& spec);

  absl::Status EncodeSegment(std::string_view segment, bool first,
                             std::vector<int32_t>& out) const override;
  std::string OrdinaryBytes(int32_t token) const override;

  std::string Normalize(std::string_view segment, bool first) const;
  std::optional<BpeMerge> FindByScore(std::string_view text, const BpeSymbol& left,
                                      const BpeSymbol& right) const;
  // Appends the byte tokens of a character outside the vocabulary; false when one is missing.
  bool AppendBytes(std::string_view character, std::vector<int32_t>& out) const;

  bool add_space_prefix_;
  bool prefix_first_only_;
  bool prefix_not_doubled_;
  bool byte_fallback_;
  int32_t unknown_token_;
  std::vector<float> scores_;             // empty: merge by rank
  std::array<int32_t, 256> byte_tokens_;  // <0xNN>; -1: none
  absl::flat_hash_map<int32_t, char> byte_of_token_;
  MergeTable merges_;
};

}  // namespace kvpareto
