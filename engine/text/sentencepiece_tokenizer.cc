#include "engine/text/sentencepiece_tokenizer.h"

#include <cstdio>
#include <utility>

#include "engine/text/utf8.h"

namespace kvpareto {
namespace {

constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581

std::string ByteTokenText(int byte) {
  char text[8];
  std::snprintf(text, sizeof(text), "<0x%02X>", byte);
  return text;
}

}  // namespace

SentencePieceTokenizer::SentencePieceTokenizer(const TokenizerSpec& spec)
    : TokenizerBase(spec),
      add_space_prefix_(spec.add_space_prefix),
      prefix_first_only_(spec.space_prefix_first_only),
      prefix_not_doubled_(spec.space_prefix_not_doubled),
      byte_fallback_(spec.byte_fallback),
      unknown_token_(spec.unknown_token) {
  if (spec.merges.empty()) scores_ = spec.scores;
  for (int byte = 0; byte < 256; ++byte) {
    byte_tokens_[byte] = vocabulary().Find(ByteTokenText(byte));
    if (byte_tokens_[byte] >= 0) byte_of_token_[byte_tokens_[byte]] = static_cast<char>(byte);
  }
}

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizer::Create(
    const TokenizerSpec& spec) {
  if (spec.merges.empty() && spec.scores.empty()) {
    return InvalidTokenizer("SentencePiece BPE needs merges or scores");
  }
  std::unique_ptr<SentencePieceTokenizer> tokenizer(new SentencePieceTokenizer(spec));
  for (int byte = 0; byte < 256 && spec.unknown_token < 0; ++byte) {
    if (!spec.byte_fallback || tokenizer->byte_tokens_[byte] < 0) {
      return InvalidTokenizer(
          "some text has no tokens: neither an unknown token nor all of <0xNN>");
    }
  }
  KVP_ASSIGN_OR_RETURN(tokenizer->merges_,
                       MergeTable::Create(spec.merges, tokenizer->vocabulary()));
  return tokenizer;
}

std::string SentencePieceTokenizer::Normalize(std::string_view segment, bool first) const {
  std::string out;
  out.reserve(segment.size() + segment.size() / 4);
  const bool starts_with_space = segment[0] == ' ' || segment.starts_with(kSpaceSymbol);
  const bool prefix = add_space_prefix_ && (first || !prefix_first_only_) &&
                      !(starts_with_space && prefix_not_doubled_);
  if (prefix) out += kSpaceSymbol;
  for (const char c : segment) {
    if (c == ' ') {
      out += kSpaceSymbol;
    } else {
      out += c;
    }
  }
  return out;
}

std::optional<BpeMerge> SentencePieceTokenizer::FindByScore(std::string_view text,
                                                            const BpeSymbol& left,
                                                            const BpeSymbol& right) const {
  const size_t bytes = size_t{left.bytes} + right.bytes;
  if (bytes > vocabulary().max_text_bytes()) return std::nullopt;
  const int32_t token = vocabulary().Find(text.substr(left.begin, bytes));
  if (token < 0 || !vocabulary().IsTextual(token)) return std::nullopt;
  return BpeMerge{-scores_[token], token};
}

absl::Status SentencePieceTokenizer::EncodeSegment(std::string_view segment, bool first,
                                                   std::vector<int32_t>& out) const {
  const std::string text = Normalize(segment, first);
  std::vector<BpeSymbol> symbols;
  symbols.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t bytes = Utf8LengthOfLead(text[i]);
    const int32_t token = vocabulary().Find(std::string_view(text).substr(i, bytes));
    symbols.push_back(
        {.token = token, .begin = static_cast<uint32_t>(i), .bytes = static_cast<uint32_t>(bytes)});
    i += bytes;
  }
  LinkSymbols(symbols);
  MergeSymbols(symbols, [&](const BpeSymbol& left, const BpeSymbol& right) {
    return scores_.empty() ? merges_.Find(left.token, right.token) : FindByScore(text, left, right);
  });
  bool after_unknown = false;  // a run of unknown characters is one unknown token
  for (const BpeSymbol& symbol : symbols) {
    if (symbol.bytes == 0) continue;
    if (symbol.token >= 0) {
      out.push_back(symbol.token);
      after_unknown = false;
    } else if (AppendBytes(std::string_view(text).substr(symbol.begin, symbol.bytes), out)) {
      after_unknown = false;
    } else if (!after_unknown && unknown_token_ >= 0) {
      out.push_back(unknown_token_);
      after_unknown = true;
    }
  }
  return absl::OkStatus();
}

bool SentencePieceTokenizer::AppendBytes(std::string_view character,
                                         std::vector<int32_t>& out) const {
  if (!byte_fallback_) return false;
  for (const char c : character) {
    if (byte_tokens_[static_cast<unsigned char>(c)] < 0) return false;
  }
  for (const char c : character) out.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
  return true;
}

std::string SentencePieceTokenizer::OrdinaryBytes(int32_t token) const {
  if (const auto it = byte_of_token_.find(token); it != byte_of_token_.end()) {
    return std::string(1, it->second);
  }
  std::string out;
  std::string_view rest = vocabulary().text(token);
  for (size_t at; (at = rest.find(kSpaceSymbol)) != rest.npos;) {
    out += rest.substr(0, at);
    out += ' ';
    rest.remove_prefix(at + kSpaceSymbol.size());
  }
  return out += rest;
}

std::string SentencePieceTokenizer::Decode(std::span<const int32_t> tokens,
                                           bool with_special) const {
  std::string out = TokenizerBase::Decode(tokens, with_special);
  if (add_space_prefix_ && out.starts_with(' ')) out.erase(0, 1);
  return out;
}

}  // namespace kvpareto
