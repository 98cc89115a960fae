// Cuts text into the pieces that BPE merges never cross.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "engine/base/status.h"
#include "engine/text/tokenizer_spec.h"

namespace kvpareto {

// Immutable and thread-safe.
class PreTokenizer {
 public:
  // Errors: INTERNAL (REGEX_FAILED) when the regex library refuses the built-in pattern.
  static absl::StatusOr<std::unique_ptr<PreTokenizer>> Create(TokenizerSpec::PreTokenizer kind);
  ~PreTokenizer();

  // Calls `piece` for consecutive, non-empty parts of `text` (valid UTF-8) that together are all of
  // it. Errors: RESOURCE_EXHAUSTED (REGEX_FAILED) when a limit of the regex library is met.
  absl::Status Split(std::string_view text,
                     const std::function<void(std::string_view)>& piece) const;

 private:
  struct Regex;
  explicit PreTokenizer(std::unique_ptr<Regex> regex);

  std::unique_ptr<Regex> regex_;
};

}  // namespace kvpareto
