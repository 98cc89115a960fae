#include "tests/support/tiny_tokenizer.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

#include "engine/base/check.h"

namespace kvpareto::support {
namespace {

// Merges of words that are frequent in English; each side is a byte or the result of an earlier
// one.
constexpr std::array<std::pair<std::string_view, std::string_view>, 24> kMerges = {{
    {"Ġ", "t"},   {"h", "e"},  {"i", "n"}, {"Ġ", "a"},  {"r", "e"},   {"o", "n"},
    {"Ġt", "he"}, {"e", "r"},  {"Ġ", "s"}, {"a", "t"},  {"Ġ", "w"},   {"Ġ", "o"},
    {"e", "n"},   {"Ġ", "c"},  {"i", "t"}, {"i", "s"},  {"a", "n"},   {"o", "r"},
    {"e", "s"},   {"in", "g"}, {"o", "u"}, {"Ġa", "n"}, {"Ġan", "d"}, {"Ġo", "n"},
}};

void Add(TokenizerSpec& spec, std::string text, TokenKind kind, float score = 0.0f) {
  spec.tokens.push_back(std::move(text));
  spec.kinds.push_back(kind);
  spec.scores.push_back(score);
}

void PadTo(TokenizerSpec& spec, int vocab) {
  KVP_CHECK(static_cast<size_t>(vocab) >= spec.tokens.size()) << "vocabulary of " << vocab;
  for (int i = 0; spec.tokens.size() < static_cast<size_t>(vocab); ++i) {
    Add(spec, "[PAD" + std::to_string(i) + "]", TokenKind::kUnused);
  }
}

std::string Utf8(int code_point) {  // below U+0800
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 63))};
}

}  // namespace

std::string ByteToken(int byte) {
  const auto printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  if (printable(byte)) return Utf8(byte);
  int shifted = 256;
  for (int b = 0; b < byte; ++b) shifted += printable(b) ? 0 : 1;
  return Utf8(shifted);
}

TokenizerSpec MakeByteLevelTokenizer(TokenizerSpec::PreTokenizer pre_tokenizer, int vocab) {
  TokenizerSpec spec;
  spec.model = TokenizerSpec::Model::kByteLevelBpe;
  spec.pre_tokenizer = pre_tokenizer;
  spec.normalize_nfc = pre_tokenizer == TokenizerSpec::PreTokenizer::kQwen2;
  spec.ignore_merges = pre_tokenizer == TokenizerSpec::PreTokenizer::kLlama3;
  spec.bos_token = kImStart;
  spec.unknown_token = kEndOfText;
  Add(spec, "<|endoftext|>", TokenKind::kSpecial);
  Add(spec, "<|im_start|>", TokenKind::kSpecial);
  Add(spec, "<|im_end|>", TokenKind::kSpecial);
  for (int byte = 0; byte < 256; ++byte) Add(spec, ByteToken(byte), TokenKind::kNormal);
  for (const auto& [left, right] : kMerges) {
    spec.merges.emplace_back(left, right);
    Add(spec, std::string(left) + std::string(right), TokenKind::kNormal);
  }
  PadTo(spec, vocab);
  spec.scores.clear();
  return spec;
}

TokenizerSpec MakeSentencePieceTokenizer(int vocab) {
  TokenizerSpec spec;
  spec.model = TokenizerSpec::Model::kSentencePieceBpe;
  spec.byte_fallback = true;
  spec.add_bos = true;
  spec.add_space_prefix = true;
  spec.bos_token = kImStart;
  spec.unknown_token = kEndOfText;
  Add(spec, "<unk>", TokenKind::kUnknown);
  Add(spec, "<s>", TokenKind::kSpecial);
  Add(spec, "</s>", TokenKind::kSpecial);
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", byte);
    Add(spec, text, TokenKind::kByte);
  }
  // Earlier pieces merge first; single characters come last, as SentencePiece orders them.
  float score = 0.0f;
  for (const char* piece :
       {"▁t", "he", "in", "▁a", "re", "on", "▁the", "er", "ing", "▁an", "▁and"}) {
    Add(spec, piece, TokenKind::kNormal, score--);
  }
  for (const char* character : {"▁", "e", "t", "a", "o", "n", "i", "h", "s", "r", "d",
                                "l", "u", "g", "w", "m", "c", "f", "y", "p", ".", ","}) {
    Add(spec, character, TokenKind::kNormal, score--);
  }
  PadTo(spec, vocab);
  return spec;
}

const std::string& ChatMlTemplate() {
  static const std::string text =
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
      "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
      "{{ '<|im_start|>assistant\\n' }}{% endif %}";
  return text;
}

}  // namespace kvpareto::support
