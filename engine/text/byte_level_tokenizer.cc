#include "engine/text/byte_level_tokenizer.h"

#include <utility>

#include "engine/text/byte_alphabet.h"
#include "engine/text/nfc.h"

namespace kvpareto {

ByteLevelTokenizer::ByteLevelTokenizer(const TokenizerSpec& spec)
    : TokenizerBase(spec), normalize_nfc_(spec.normalize_nfc), ignore_merges_(spec.ignore_merges) {
  for (int byte = 0; byte < 256; ++byte) {
    byte_tokens_[byte] = vocabulary().Find(ByteToAlphabet(static_cast<uint8_t>(byte)));
  }
}

absl::StatusOr<std::unique_ptr<Tokenizer>> ByteLevelTokenizer::Create(const TokenizerSpec& spec) {
  std::unique_ptr<ByteLevelTokenizer> tokenizer(new ByteLevelTokenizer(spec));
  KVP_ASSIGN_OR_RETURN(tokenizer->pre_tokenizer_, PreTokenizer::Create(spec.pre_tokenizer));
  KVP_ASSIGN_OR_RETURN(tokenizer->merges_,
                       MergeTable::Create(spec.merges, tokenizer->vocabulary()));
  return tokenizer;
}

absl::Status ByteLevelTokenizer::EncodeSegment(std::string_view segment, bool /*first*/,
                                               std::vector<int32_t>& out) const {
  std::string normalized;
  if (normalize_nfc_) {
    KVP_ASSIGN_OR_RETURN(normalized, NormalizeNfc(segment));
    segment = normalized;
  }
  std::vector<BpeSymbol> scratch;
  return pre_tokenizer_->Split(segment,
                               [&](std::string_view word) { EncodeWord(word, scratch, out); });
}

void ByteLevelTokenizer::EncodeWord(std::string_view word, std::vector<BpeSymbol>& scratch,
                                    std::vector<int32_t>& out) const {
  if (ignore_merges_) {
    const int32_t whole = vocabulary().Find(BytesToAlphabet(word));
    if (whole >= 0 && vocabulary().IsTextual(whole)) {
      out.push_back(whole);
      return;
    }
  }
  scratch.clear();
  scratch.reserve(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    const int32_t token = byte_tokens_[static_cast<unsigned char>(word[i])];
    // A byte without a token is left out, as in `tokenizers`; published vocabularies have them all.
    if (token >= 0)
      scratch.push_back({.token = token, .begin = static_cast<uint32_t>(i), .bytes = 1});
  }
  LinkSymbols(scratch);
  MergeSymbols(scratch, [this](const BpeSymbol& left, const BpeSymbol& right) {
    return merges_.Find(left.token, right.token);
  });
  for (const BpeSymbol& symbol : scratch) {
    if (symbol.bytes > 0) out.push_back(symbol.token);
  }
}

std::string ByteLevelTokenizer::OrdinaryBytes(int32_t token) const {
  const std::string& text = vocabulary().text(token);
  return AlphabetToBytes(text).value_or(text);
}

}  // namespace kvpareto
