#include "engine/text/tokenizer.h"

#include "engine/text/byte_level_tokenizer.h"
#include "engine/text/sentencepiece_tokenizer.h"

namespace kvpareto {

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(const TokenizerSpec& spec) {
  KVP_RETURN_IF_ERROR(Vocabulary::Check(spec));
  switch (spec.model) {
    case TokenizerSpec::Model::kByteLevelBpe:
      return ByteLevelTokenizer::Create(spec);
    case TokenizerSpec::Model::kSentencePieceBpe:
      return SentencePieceTokenizer::Create(spec);
  }
  return InvalidTokenizer("unknown model kind");
}

}  // namespace kvpareto
