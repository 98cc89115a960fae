#include "engine/model/hf_tokenizer.h"

#include <algorithm>

#include "engine/model/hf_pre_tokenizer.h"
#include "engine/model/model_error.h"

namespace kvpareto {
namespace {

absl::Status PutToken(const std::string& text, const Json& id, int vocab, TokenKind kind,
                      TokenizerSpec& spec) {
  if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab)) {
    return InvalidModelConfig("tokenizer.json", "token \"" + Printable(text) +
                                                    "\" has an id outside the model's vocabulary");
  }
  const size_t at = id.get<size_t>();
  if (at >= spec.tokens.size()) {
    spec.tokens.resize(at + 1);
    spec.kinds.resize(at + 1, TokenKind::kUnused);
  }
  if (spec.kinds[at] != TokenKind::kUnused && spec.tokens[at] != text) {
    return InvalidModelConfig("tokenizer.json", "id " + std::to_string(at) + " is \"" +
                                                    Printable(spec.tokens[at]) + "\" and \"" +
                                                    Printable(text) + "\"");
  }
  spec.tokens[at] = text;
  spec.kinds[at] = kind;
  return absl::OkStatus();
}

bool IsByteToken(std::string_view text) {  // "<0x0A>"
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with(">") &&
         text.find_first_not_of("0123456789ABCDEF", 3) == 5;
}

absl::Status ReadVocabulary(const Json& model, int vocab, TokenizerSpec& spec) {
  const Json& tokens = JsonMember(model, "vocab");
  if (!tokens.is_object() || tokens.empty()) {
    return InvalidModelConfig("tokenizer.json", "model.vocab is no object");
  }
  for (const auto& [text, id] : tokens.items()) {
    const TokenKind kind =
        spec.byte_fallback && IsByteToken(text) ? TokenKind::kByte : TokenKind::kNormal;
    KVP_RETURN_IF_ERROR(PutToken(text, id, vocab, kind, spec));
  }
  return absl::OkStatus();
}

// Each merge is "left right" or ["left", "right"].
absl::Status ReadMerges(const Json& model, TokenizerSpec& spec) {
  const Json& merges = JsonMember(model, "merges");
  if (!merges.is_array()) return InvalidModelConfig("tokenizer.json", "model.merges is no list");
  spec.merges.reserve(merges.size());
  for (const Json& merge : merges) {
    if (merge.is_string()) {
      const std::string& text = merge.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space != std::string::npos && space > 0 && space + 1 < text.size() &&
          text.find(' ', space + 1) == std::string::npos) {
        spec.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
        continue;
      }
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      spec.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    return InvalidModelConfig("tokenizer.json",
                              "merge " + std::to_string(spec.merges.size()) + " is not two pieces");
  }
  return absl::OkStatus();
}

// Options of the model that would change its tokens.
absl::Status CheckModel(const Json& model) {
  KVP_ASSIGN_OR_RETURN(const auto type, JsonString(model, "type"));
  if (type.value_or("BPE") != "BPE") return UnsupportedTokenizer("model.type", *type);
  KVP_ASSIGN_OR_RETURN(const auto dropout, JsonNumber(model, "dropout"));
  if (dropout.value_or(0.0) != 0.0) {
    return UnsupportedTokenizer("model.dropout", std::to_string(*dropout));
  }
  for (std::string_view affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    KVP_ASSIGN_OR_RETURN(const auto text, JsonString(model, affix));
    if (!text.value_or("").empty()) return UnsupportedTokenizer(affix, *text);
  }
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const Json& list, int vocab, TokenizerSpec& spec) {
  if (list.is_null()) return absl::OkStatus();
  if (!list.is_array()) return InvalidModelConfig("tokenizer.json", "added_tokens is no list");
  for (const Json& token : list) {
    KVP_ASSIGN_OR_RETURN(const auto text, JsonString(token, "content"));
    if (!text.has_value() || text->empty()) {
      return InvalidModelConfig("tokenizer.json", "an added token has no content");
    }
    for (std::string_view option : {"single_word", "lstrip", "rstrip"}) {
      KVP_ASSIGN_OR_RETURN(const auto value, JsonBool(token, option));
      if (value.value_or(false)) return UnsupportedTokenizer(option, *text);
    }
    KVP_ASSIGN_OR_RETURN(const auto special, JsonBool(token, "special"));
    KVP_RETURN_IF_ERROR(
        PutToken(*text, JsonMember(token, "id"), vocab,
                 special.value_or(false) ? TokenKind::kSpecial : TokenKind::kUserDefined, spec));
  }
  return absl::OkStatus();
}

int32_t FindToken(const TokenizerSpec& spec, std::string_view text) {
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), text);
  return found == spec.tokens.end() ? -1 : static_cast<int32_t>(found - spec.tokens.begin());
}

// A token in tokenizer_config.json: its text, or an object with it. -1: none.
int32_t SettingsToken(const Json& settings, std::string_view key, const TokenizerSpec& spec) {
  const Json& member = JsonMember(settings, key);
  const Json& text = member.is_object() ? JsonMember(member, "content") : member;
  return text.is_string() ? FindToken(spec, text.get_ref<const std::string&>()) : -1;
}

absl::Status ReadSpecialTokens(const Json& tokenizer, const Json& settings, TokenizerSpec& spec) {
  spec.bos_token = SettingsToken(settings, "bos_token", spec);
  KVP_ASSIGN_OR_RETURN(const auto first, ReadHfFirstToken(JsonMember(tokenizer, "post_processor")));
  KVP_ASSIGN_OR_RETURN(const auto add_bos, JsonBool(settings, "add_bos_token"));
  KVP_ASSIGN_OR_RETURN(const auto add_eos, JsonBool(settings, "add_eos_token"));
  if (add_eos.value_or(false)) return UnsupportedTokenizer("add_eos_token", "true");
  if (first.has_value()) spec.bos_token = FindToken(spec, *first);
  spec.add_bos = add_bos.value_or(first.has_value()) && spec.bos_token >= 0;
  KVP_ASSIGN_OR_RETURN(const auto unknown, JsonString(JsonMember(tokenizer, "model"), "unk_token"));
  spec.unknown_token =
      unknown.has_value() ? FindToken(spec, *unknown) : SettingsToken(settings, "unk_token", spec);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerSpec> ReadHfTokenizer(const Json& tokenizer, const Json& settings,
                                              int vocab) {
  if (!tokenizer.is_object()) return CorruptFile("tokenizer.json is no JSON object");
  const Json& model = JsonMember(tokenizer, "model");
  TokenizerSpec spec;
  KVP_RETURN_IF_ERROR(CheckModel(model));
  KVP_RETURN_IF_ERROR(ReadHfTextCutting(tokenizer, spec));
  KVP_ASSIGN_OR_RETURN(const auto byte_fallback, JsonBool(model, "byte_fallback"));
  KVP_ASSIGN_OR_RETURN(const auto ignore_merges, JsonBool(model, "ignore_merges"));
  spec.byte_fallback = byte_fallback.value_or(false);
  spec.ignore_merges = ignore_merges.value_or(false);
  KVP_RETURN_IF_ERROR(ReadVocabulary(model, vocab, spec));
  KVP_RETURN_IF_ERROR(ReadMerges(model, spec));
  KVP_RETURN_IF_ERROR(ReadAddedTokens(JsonMember(tokenizer, "added_tokens"), vocab, spec));
  KVP_RETURN_IF_ERROR(ReadSpecialTokens(tokenizer, settings, spec));
  return spec;
}

absl::StatusOr<std::string> ReadHfChatTemplate(const Json& settings) {
  const Json& member = JsonMember(settings, "chat_template");
  if (!member.is_array()) {
    KVP_ASSIGN_OR_RETURN(const auto text, JsonString(settings, "chat_template"));
    return text.value_or("");
  }
  for (const Json& entry : member) {
    if (JsonMember(entry, "name") != "default") continue;
    KVP_ASSIGN_OR_RETURN(const auto text, JsonString(entry, "template"));
    return text.value_or("");
  }
  return std::string();
}

}  // namespace kvpareto
