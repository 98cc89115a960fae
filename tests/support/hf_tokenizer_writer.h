// tokenizer.json and tokenizer_config.json of a TinyModel.
#pragma once

#include <string>

#include "tests/support/tiny_model.h"

namespace kvpareto::support {

void WriteHfTokenizer(const TinyModel& model, bool merges_as_pairs, const std::string& directory);

}  // namespace kvpareto::support
