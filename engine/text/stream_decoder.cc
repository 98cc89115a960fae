#include <span>

#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

namespace kvpareto {

std::string StreamDecoder::Push(int32_t token) {
  std::string bytes = tokenizer_->TokenBytes(token);
  if (first_ && !bytes.empty()) {
    // Only Decode knows what the tokenizer does at the start of a text (a stripped space).
    bytes = tokenizer_->Decode(std::span(&token, 1));
    first_ = false;
  }
  pending_ += bytes;
  std::string out;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = NextUtf8(rest);
    if (step.kind == Utf8Step::Kind::kIncomplete) break;
    out += step.kind == Utf8Step::Kind::kCharacter ? rest.substr(0, step.bytes)
                                                   : kReplacementCharacter;
    rest.remove_prefix(step.bytes);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return out;
}

std::string StreamDecoder::Flush() {
  std::string out = MakeValidUtf8(pending_);
  pending_.clear();
  return out;
}

}  // namespace kvpareto
