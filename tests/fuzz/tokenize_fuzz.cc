// The first byte of an input chooses a tokenizer, the rest is a text or token ids.
#include <cstring>

#include "engine/base/check.h"
#include "engine/text/tokenizer.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"
#include "tests/support/tiny_tokenizer.h"

namespace kvpareto::fuzz {
namespace {

using Pre = TokenizerSpec::PreTokenizer;

struct Subject {
  std::unique_ptr<Tokenizer> tokenizer;
  bool exact;  // text comes back as it was
};

const std::vector<Subject>& Subjects() {
  static const std::vector<Subject> subjects = [] {
    std::vector<Subject> all;
    for (const Pre pre : {Pre::kGpt2, Pre::kSmolLm, Pre::kQwen2, Pre::kLlama3}) {
      const TokenizerSpec spec = support::MakeByteLevelTokenizer(pre, support::kTinyVocab);
      all.push_back({*Tokenizer::Create(spec), !spec.normalize_nfc});
    }
    all.push_back(
        {*Tokenizer::Create(support::MakeSentencePieceTokenizer(support::kTinyVocab)), false});
    return all;
  }();
  return subjects;
}

void EncodeAndDecode(const Subject& subject, std::string_view text) {
  const auto tokens = subject.tokenizer->Encode(text, {});
  CheckRefusal(tokens.status());
  KVP_CHECK(tokens.ok() == IsValidUtf8(text)) << tokens.status();
  if (!tokens.ok()) return;
  const std::string back = subject.tokenizer->Decode(*tokens, /*with_special=*/true);
  KVP_CHECK(!subject.exact || back == text) << "the text came back as " << back;
  CheckRefusal(subject.tokenizer->Encode(text, {.parse_special = true, .add_bos = true}).status());
}

// The bytes as 16-bit ids, also ones that no token has.
void Stream(const Tokenizer& tokenizer, std::string_view bytes) {
  StreamDecoder decoder(&tokenizer);
  std::string text;
  for (size_t i = 0; i + 2 <= bytes.size(); i += 2) {
    int16_t id;
    std::memcpy(&id, bytes.data() + i, sizeof id);
    text += decoder.Push(id % (2 * support::kTinyVocab));
    KVP_CHECK(IsValidUtf8(text));
  }
  text += decoder.Flush();
  KVP_CHECK(IsValidUtf8(text));
}

}  // namespace

void Tokenize(std::string_view input) {
  if (input.empty()) return;
  const Subject& subject = Subjects()[static_cast<unsigned char>(input[0]) % Subjects().size()];
  EncodeAndDecode(subject, input.substr(1));
  Stream(*subject.tokenizer, input.substr(1, 4096));
}

}  // namespace kvpareto::fuzz
