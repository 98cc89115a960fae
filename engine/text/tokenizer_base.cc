#include "engine/text/tokenizer_base.h"

#include <mutex>

namespace kvpareto {
namespace {

constexpr size_t kLongTextBytes = size_t{256} << 10;

// Merging takes tens of bytes for each byte of a text without spaces. One long text at a time: what
// all threads of a process take together is bounded by the longest text there can be.
std::unique_lock<std::mutex> WaitForTurn(size_t text_bytes) {
  static std::mutex mutex;
  std::unique_lock<std::mutex> turn(mutex, std::defer_lock);
  if (text_bytes > kLongTextBytes) turn.lock();
  return turn;
}

}  // namespace

TokenizerBase::TokenizerBase(const TokenizerSpec& spec)
    : vocabulary_(spec), add_bos_(spec.add_bos), bos_token_(spec.bos_token) {
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    const bool user_defined = vocabulary_.kind(id) == TokenKind::kUserDefined;
    if (user_defined) user_defined_.Add(vocabulary_.text(id), id);
    if (user_defined || vocabulary_.IsSpecial(id)) {
      user_defined_and_special_.Add(vocabulary_.text(id), id);
    }
  }
}

absl::StatusOr<std::vector<int32_t>> TokenizerBase::Encode(std::string_view text,
                                                           EncodeOptions options) const {
  if (!IsValidUtf8(text)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_UTF8",
                     "the text is not valid UTF-8");
  }
  const std::unique_lock<std::mutex> turn = WaitForTurn(text.size());
  std::vector<int32_t> out;
  if (options.add_bos && bos_token_ >= 0) out.push_back(bos_token_);
  const AddedTokens& added = options.parse_special ? user_defined_and_special_ : user_defined_;
  for (size_t position = 0; position < text.size();) {
    const AddedTokens::Match match = added.Find(text, position);
    if (match.begin > position) {
      KVP_RETURN_IF_ERROR(
          EncodeSegment(text.substr(position, match.begin - position), position == 0, out));
    }
    if (match.token >= 0) out.push_back(match.token);
    position = match.end;
  }
  return out;
}

std::string TokenizerBase::TokenBytes(int32_t token, bool with_special) const {
  if (!vocabulary_.contains(token)) return {};
  if (vocabulary_.IsSpecial(token)) return with_special ? vocabulary_.text(token) : std::string();
  if (vocabulary_.kind(token) == TokenKind::kUnused) return {};
  if (vocabulary_.kind(token) == TokenKind::kUserDefined) return vocabulary_.text(token);
  return OrdinaryBytes(token);
}

std::string TokenizerBase::Decode(std::span<const int32_t> tokens, bool with_special) const {
  std::string out;
  for (const int32_t token : tokens) out += TokenBytes(token, with_special);
  return out;
}

bool TokenizerBase::IsSpecial(int32_t token) const {
  return vocabulary_.contains(token) && vocabulary_.IsSpecial(token);
}

std::string_view TokenizerBase::TokenText(int32_t token) const {
  return vocabulary_.contains(token) ? std::string_view(vocabulary_.text(token))
                                     : std::string_view();
}

}  // namespace kvpareto
