// The text-cutting part of a tokenizer.json, recognised by structure.
#pragma once

#include "engine/model/json.h"
#include "engine/text/tokenizer_spec.h"

namespace kvpareto {

// Fills model, pre_tokenizer, normalize_nfc and the space prefix options from the members
// "normalizer", "pre_tokenizer" and "decoder". Errors: TOKENIZER_UNSUPPORTED naming the component.
absl::Status ReadHfTextCutting(const Json& tokenizer, TokenizerSpec& spec);

// Whether the member "post_processor" puts a token first, and which. Errors as above.
absl::StatusOr<std::optional<std::string>> ReadHfFirstToken(const Json& post_processor);

}  // namespace kvpareto
