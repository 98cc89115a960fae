// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/tokenizer_spec.h"

namespace kvpareto {

// Immutable and thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Errors: INVALID_ARGUMENT (reason TOKENIZER_INVALID) when the spec contradicts itself.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const TokenizerSpec& spec);

  // `text` is UTF-8; invalid UTF-8 is INVALID_ARGUMENT (INVALID_UTF8). Special tokens written out
  // in the text become their ids when `parse_special` (chat templates), and stay plain text
  // otherwise (raw user content); user-defined tokens are always matched. `add_bos` puts the
  // beginning-of-sequence token first, where there is one: pass adds_bos() for raw text, false for
  // a rendered chat template that writes it itself. O(n log n) in the text length.
  // RESOURCE_EXHAUSTED (REGEX_FAILED) when the pre-tokenizer meets a limit.
  struct EncodeOptions {
    bool parse_special = false;
    bool add_bos = false;
  };
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                                      EncodeOptions options) const = 0;

  // The bytes a token stands for (not necessarily whole UTF-8 characters). Special tokens give ""
  // unless `with_special`.
  virtual std::string TokenBytes(int32_t token, bool with_special = false) const = 0;
  virtual std::string Decode(std::span<const int32_t> tokens, bool with_special = false) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual bool IsSpecial(int32_t token) const = 0;
  virtual bool adds_bos() const = 0;
  virtual std::string_view TokenText(int32_t token) const = 0;  // as in the vocabulary
  virtual int32_t FindToken(std::string_view text) const = 0;   // -1: none
};

// Turns a stream of tokens into a stream of whole UTF-8 characters. Not thread-safe; one per
// stream.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer* tokenizer) : tokenizer_(tokenizer) {}
  // The text that `token` completes: may be empty while a character is incomplete. Bytes that can
  // never become valid UTF-8 are replaced by U+FFFD.
  std::string Push(int32_t token);
  // What is left at the end of the stream, incomplete bytes replaced by U+FFFD.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  std::string pending_;
  bool first_ = true;
};

// Whether `text` is well-formed UTF-8 (no surrogates, no overlong forms).
bool IsValidUtf8(std::string_view text);

}  // namespace kvpareto
