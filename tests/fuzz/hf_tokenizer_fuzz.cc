// tokenizer.json, tokenizer_config.json and a text as the three parts of an input.
#include "engine/model/hf_tokenizer.h"
#include "engine/text/tokenizer.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

namespace kvpareto::fuzz {
namespace {

constexpr int kVocab = 4096;

void Use(const TokenizerSpec& spec, const std::string& text) {
  const auto tokenizer = Tokenizer::Create(spec);
  CheckRefusal(tokenizer.status());
  if (!tokenizer.ok()) return;
  const auto tokens = (*tokenizer)->Encode(text, {.parse_special = true, .add_bos = true});
  CheckRefusal(tokens.status());
  if (tokens.ok()) (*tokenizer)->Decode(*tokens, /*with_special=*/true);
}

}  // namespace

void HfTokenizer(std::string_view input) {
  const std::vector<std::string> parts = Parts(input, 3);
  const auto tokenizer = ParseJson(parts[0]);
  CheckRefusal(tokenizer.status());
  if (!tokenizer.ok()) return;
  const auto settings = ParseJson(parts[1]);
  const auto spec = ReadHfTokenizer(*tokenizer, settings.ok() ? *settings : Json(), kVocab);
  CheckRefusal(spec.status());
  if (spec.ok()) Use(*spec, parts[2]);
  if (settings.ok()) CheckRefusal(ReadHfChatTemplate(*settings).status());
}

}  // namespace kvpareto::fuzz
