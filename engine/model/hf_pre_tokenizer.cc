#include "engine/model/hf_pre_tokenizer.h"

#include "engine/model/model_error.h"

namespace kvpareto {
namespace {

using PreTokenizer = TokenizerSpec::PreTokenizer;

constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+)"
    R"([\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kSpace = "▁";

std::string TypeOf(const Json& component) {
  const Json& type = JsonMember(component, "type");
  return type.is_string() ? type.get<std::string>() : "";
}

// A component's members as text, for comparing and for messages.
std::string Text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The steps of a Sequence (in member `list`), one component as a sequence of itself, null as none.
std::vector<Json> Steps(const Json& component, std::string_view list) {
  if (component.is_null()) return {};
  if (TypeOf(component) != "Sequence") return {component};
  const Json& steps = JsonMember(component, list);
  return steps.is_array() ? steps.get<std::vector<Json>>() : std::vector<Json>{component};
}

bool Flag(const Json& component, std::string_view key, bool fallback) {
  const Json& value = JsonMember(component, key);
  return value.is_boolean() ? value.get<bool>() : fallback;
}

bool IsByteLevel(const Json& step, bool use_regex) {
  return TypeOf(step) == "ByteLevel" && !Flag(step, "add_prefix_space", true) &&
         Flag(step, "use_regex", true) == use_regex;
}

bool IsSplit(const Json& step, std::string_view regex) {
  return TypeOf(step) == "Split" && JsonMember(step, "behavior") == "Isolated" &&
         !Flag(step, "invert", false) &&
         JsonMember(JsonMember(step, "pattern"), "Regex") == std::string(regex);
}

std::optional<PreTokenizer> Recognise(const std::vector<Json>& steps) {
  if (steps.size() == 1 && IsByteLevel(steps[0], true)) return PreTokenizer::kGpt2;
  if (steps.size() != 2) return std::nullopt;
  if (TypeOf(steps[0]) == "Digits" && Flag(steps[0], "individual_digits", false) &&
      IsByteLevel(steps[1], true)) {
    return PreTokenizer::kSmolLm;
  }
  if (!IsByteLevel(steps[1], false)) return std::nullopt;
  if (IsSplit(steps[0], kQwen2Regex)) return PreTokenizer::kQwen2;
  if (IsSplit(steps[0], kLlama3Regex)) return PreTokenizer::kLlama3;
  return std::nullopt;
}

bool ReplacesSpace(const Json& step) {
  return TypeOf(step) == "Replace" && JsonMember(step, "content") == std::string(kSpace) &&
         JsonMember(JsonMember(step, "pattern"), "String") == " ";
}

// Older files spell SentencePiece as normalizers (Prepend, Replace), newer ones as the
// pre-tokenizer Metaspace. nullopt: neither.
absl::StatusOr<bool> ReadSentencePiece(const std::vector<Json>& normalizers,
                                       const std::vector<Json>& pre_tokenizers,
                                       TokenizerSpec& spec) {
  bool found = false;
  for (const Json& step : normalizers) {
    if (TypeOf(step) == "Prepend" && JsonMember(step, "prepend") == std::string(kSpace)) {
      spec.add_space_prefix = true;
    } else if (ReplacesSpace(step)) {
      found = true;
    } else {
      return false;
    }
  }
  if (found && pre_tokenizers.empty()) return true;
  if (normalizers.empty() && pre_tokenizers.size() == 1 &&
      TypeOf(pre_tokenizers[0]) == "Metaspace" && !Flag(pre_tokenizers[0], "split", true) &&
      JsonMember(pre_tokenizers[0], "replacement") == std::string(kSpace)) {
    const Json& scheme = JsonMember(pre_tokenizers[0], "prepend_scheme");
    if (scheme != "first" && scheme != "always" && scheme != "never") {
      return UnsupportedTokenizer("pre_tokenizer", Text(pre_tokenizers[0]));
    }
    spec.add_space_prefix = scheme != "never";
    spec.space_prefix_first_only = scheme == "first";
    spec.space_prefix_not_doubled = true;
    return true;
  }
  return false;
}

absl::Status CheckDecoder(const Json& decoder, bool byte_level) {
  for (const Json& step : Steps(decoder, "decoders")) {
    const std::string type = TypeOf(step);
    const bool known = byte_level ? type == "ByteLevel"
                                  : type == "Replace" || type == "ByteFallback" || type == "Fuse" ||
                                        type == "Strip" || type == "Metaspace";
    if (!known) return UnsupportedTokenizer("decoder", type);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadHfTextCutting(const Json& tokenizer, TokenizerSpec& spec) {
  const std::vector<Json> normalizers = Steps(JsonMember(tokenizer, "normalizer"), "normalizers");
  const std::vector<Json> pre_tokenizers =
      Steps(JsonMember(tokenizer, "pre_tokenizer"), "pretokenizers");
  const Json& decoder = JsonMember(tokenizer, "decoder");
  KVP_ASSIGN_OR_RETURN(const bool sentencepiece,
                       ReadSentencePiece(normalizers, pre_tokenizers, spec));
  if (sentencepiece) {
    spec.model = TokenizerSpec::Model::kSentencePieceBpe;
    return CheckDecoder(decoder, /*byte_level=*/false);
  }
  spec.model = TokenizerSpec::Model::kByteLevelBpe;
  spec.add_space_prefix = false;
  for (const Json& step : normalizers) {
    if (TypeOf(step) != "NFC") return UnsupportedTokenizer("normalizer", Text(step));
    spec.normalize_nfc = true;
  }
  const std::optional<PreTokenizer> pre_tokenizer = Recognise(pre_tokenizers);
  if (!pre_tokenizer.has_value()) {
    return UnsupportedTokenizer("pre_tokenizer", Text(JsonMember(tokenizer, "pre_tokenizer")));
  }
  spec.pre_tokenizer = *pre_tokenizer;
  return CheckDecoder(decoder, /*byte_level=*/true);
}

absl::StatusOr<std::optional<std::string>> ReadHfFirstToken(const Json& post_processor) {
  std::optional<std::string> first;
  for (const Json& step : Steps(post_processor, "processors")) {
    const std::string type = TypeOf(step);
    if (type == "ByteLevel") continue;  // moves offsets only
    if (type != "TemplateProcessing") return UnsupportedTokenizer("post_processor", type);
    const Json& single = JsonMember(step, "single");
    if (!single.is_array()) return UnsupportedTokenizer("post_processor", Text(single));
    for (size_t i = 0; i < single.size(); ++i) {
      const Json& token = JsonMember(JsonMember(single[i], "SpecialToken"), "id");
      if (single[i].contains("Sequence")) continue;
      if (i != 0 || !token.is_string()) {  // only a token in front is understood
        return UnsupportedTokenizer("post_processor", Text(single));
      }
      first = token.get<std::string>();
    }
  }
  return first;
}

}  // namespace kvpareto
