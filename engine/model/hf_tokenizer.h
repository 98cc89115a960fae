// tokenizer.json and tokenizer_config.json of a Hugging Face directory as a TokenizerSpec.
#pragma once

#include "engine/model/json.h"
#include "engine/text/tokenizer_spec.h"

namespace kvpareto {

// `settings` (tokenizer_config.json) may be null. Ids are below `vocab`; ids that no token has are
// kUnused. Whatever would change the tokens and is not understood is UNIMPLEMENTED
// (TOKENIZER_UNSUPPORTED) naming it.
absl::StatusOr<TokenizerSpec> ReadHfTokenizer(const Json& tokenizer, const Json& settings,
                                              int vocab);

// The chat template of tokenizer_config.json: a string, or the entry "default" of a list. "": none.
absl::StatusOr<std::string> ReadHfChatTemplate(const Json& settings);

}  // namespace kvpareto
