#include <limits>

#include "engine/model/gguf_metadata.h"
#include "engine/model/model_error.h"

namespace kvpareto {
namespace {

using PreTokenizer = TokenizerSpec::PreTokenizer;

absl::StatusOr<TokenKind> KindOf(int64_t type) {
  switch (type) {
    case 1:
      return TokenKind::kNormal;
    case 2:
      return TokenKind::kUnknown;
    case 3:
      return TokenKind::kSpecial;
    case 4:
      return TokenKind::kUserDefined;
    case 5:
      return TokenKind::kUnused;
    case 6:
      return TokenKind::kByte;
    default:
      return CorruptFile("token type " + std::to_string(type) + " does not exist");
  }
}

absl::Status ReadVocabulary(const GgufFile& file, TokenizerSpec& spec) {
  KVP_ASSIGN_OR_RETURN(const auto tokens, file.Strings("tokenizer.ggml.tokens"));
  if (!tokens.has_value()) return InvalidModelConfig("tokenizer.ggml.tokens", "is missing");
  spec.tokens.assign(tokens->begin(), tokens->end());
  KVP_ASSIGN_OR_RETURN(const auto types, file.Ints("tokenizer.ggml.token_type"));
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  if (!types.has_value()) return absl::OkStatus();
  if (types->size() != spec.tokens.size()) {
    return InvalidModelConfig("tokenizer.ggml.token_type", "is not one for each token");
  }
  for (size_t id = 0; id < types->size(); ++id) {
    KVP_ASSIGN_OR_RETURN(spec.kinds[id], KindOf((*types)[id]));
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const GgufFile& file, TokenizerSpec& spec) {
  KVP_ASSIGN_OR_RETURN(const auto merges, file.Strings("tokenizer.ggml.merges"));
  if (!merges.has_value()) return InvalidModelConfig("tokenizer.ggml.merges", "is missing");
  spec.merges.reserve(merges->size());
  for (std::string_view merge : *merges) {
    const size_t space = merge.find(' ', 1);  // a piece itself may begin with a space
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      return CorruptFile("tokenizer merge \"" + Printable(merge) + "\" is not two pieces");
    }
    spec.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return absl::OkStatus();
}

// llama.cpp's names for how text is cut.
absl::Status ReadPreTokenizer(const GgufFile& file, TokenizerSpec& spec) {
  KVP_ASSIGN_OR_RETURN(const auto pre, file.String("tokenizer.ggml.pre"));
  const std::string_view name = pre.value_or("default");
  if (name == "smollm") {
    spec.pre_tokenizer = PreTokenizer::kSmolLm;
  } else if (name == "qwen2") {
    spec.pre_tokenizer = PreTokenizer::kQwen2;
    spec.normalize_nfc = true;
  } else if (name == "llama-bpe" || name == "llama3" || name == "llama-v3") {
    spec.pre_tokenizer = PreTokenizer::kLlama3;
    spec.ignore_merges = true;
    spec.add_bos = true;
  } else if (name == "gpt-2" || name == "gpt2" || name == "default") {
    spec.pre_tokenizer = PreTokenizer::kGpt2;
  } else {
    return UnsupportedTokenizer("tokenizer.ggml.pre", name);
  }
  return absl::OkStatus();
}

absl::Status ReadSentencePiece(const GgufFile& file, TokenizerSpec& spec) {
  spec.model = TokenizerSpec::Model::kSentencePieceBpe;
  spec.byte_fallback = true;
  spec.add_bos = true;
  spec.bos_token = 1;
  spec.unknown_token = 0;
  KVP_ASSIGN_OR_RETURN(auto scores, file.Floats("tokenizer.ggml.scores"));
  if (!scores.has_value() || scores->size() != spec.tokens.size()) {
    return InvalidModelConfig("tokenizer.ggml.scores", "is not one for each token");
  }
  spec.scores = *std::move(scores);
  KVP_ASSIGN_OR_RETURN(const auto prefix, file.Bool("tokenizer.ggml.add_space_prefix"));
  spec.add_space_prefix = prefix.value_or(true);
  return absl::OkStatus();
}

absl::Status ReadToken(const GgufFile& file, std::string_view key, int32_t& token) {
  KVP_ASSIGN_OR_RETURN(const std::optional<int64_t> id, file.Int(key));
  if (!id.has_value()) return absl::OkStatus();
  if (*id < 0 || *id > std::numeric_limits<int32_t>::max()) {
    return InvalidModelConfig(key, std::to_string(*id) + " is no token");
  }
  token = static_cast<int32_t>(*id);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerSpec> ReadGgufTokenizer(const GgufFile& file) {
  TokenizerSpec spec;
  KVP_RETURN_IF_ERROR(ReadVocabulary(file, spec));
  KVP_ASSIGN_OR_RETURN(const auto model, file.String("tokenizer.ggml.model"));
  if (model == "gpt2") {
    KVP_RETURN_IF_ERROR(ReadPreTokenizer(file, spec));
    KVP_RETURN_IF_ERROR(ReadMerges(file, spec));
  } else if (model == "llama") {
    KVP_RETURN_IF_ERROR(ReadSentencePiece(file, spec));
  } else {
    return UnsupportedTokenizer("tokenizer.ggml.model", model.value_or("(none)"));
  }
  KVP_RETURN_IF_ERROR(ReadToken(file, "tokenizer.ggml.bos_token_id", spec.bos_token));
  KVP_RETURN_IF_ERROR(ReadToken(file, "tokenizer.ggml.unknown_token_id", spec.unknown_token));
  KVP_ASSIGN_OR_RETURN(const auto add_bos, file.Bool("tokenizer.ggml.add_bos_token"));
  spec.add_bos = add_bos.value_or(spec.add_bos);
  KVP_ASSIGN_OR_RETURN(const auto add_eos, file.Bool("tokenizer.ggml.add_eos_token"));
  if (add_eos.value_or(false)) return UnsupportedTokenizer("add_eos_token", "true");
  return spec;
}

}  // namespace kvpareto
