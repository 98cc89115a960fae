// Byte-level BPE, as published with GPT-2 and used by Llama-3, Qwen and SmolLM.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "engine/text/merge_table.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/tokenizer_base.h"

namespace kvpareto {

class ByteLevelTokenizer final : public TokenizerBase {
 public:
  // Errors as Tokenizer::Create. `spec` must have passed Vocabulary::Check.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const TokenizerSpec& spec);

 private:
  explicit ByteLevelTokenizer(const TokenizerSpec& spec);

  absl::Status EncodeSegment(std::string_view segment, bool first,
                             std::vector<int32_t>& out) const override;
  std::string OrdinaryBytes(int32_t token) const override;

  void EncodeWord(std::string_view word, std::vector<BpeSymbol>& scratch,
                  std::vector<int32_t>& out) const;

  bool normalize_nfc_;
  bool ignore_merges_;
  std::array<int32_t, 256> byte_tokens_;  // -1: the vocabulary has no token for the byte
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  MergeTable merges_;
};

}  // namespace kvpareto
