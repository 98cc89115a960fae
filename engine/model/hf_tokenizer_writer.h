// Tokenizers as the files of a Hugging Face directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/model/json.h"
#include "engine/text/tokenizer_spec.h"

namespace kvpareto {

// tokenizer.json, for the `tokenizers` library.
Json HfTokenizerJson(const TokenizerSpec& spec);

// tokenizer_config.json. The first of `eos_tokens`, if any, becomes eos_token; `chat_template` may
// be empty.
Json HfTokenizerConfig(const TokenizerSpec& spec, const std::vector<int32_t>& eos_tokens,
                       const std::string& chat_template);

}  // namespace kvpareto
