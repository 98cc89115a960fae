// Template text to tokens, with Jinja's white-space control as chat templates use it
// (trim_blocks and lstrip_blocks on, one newline at the end of the template dropped).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace kvpareto::jinja {

struct Token {
  enum class Kind : uint8_t {
    kText,           // text outside tags
    kBlockBegin,     // {%
    kBlockEnd,       // %}
    kVariableBegin,  // {{
    kVariableEnd,    // }}
    kName,
    kString,  // text: with escapes resolved
    kInteger,
    kOperator,  // text: the operator
    kEnd,
  };
  Kind kind = Kind::kEnd;
  std::string text;
  int64_t integer = 0;
  int line = 1;
};

// Ends with one kEnd token. Errors: UNIMPLEMENTED (CHAT_TEMPLATE_UNSUPPORTED).
absl::StatusOr<std::vector<Token>> Tokenize(const std::string& source);

}  // namespace kvpareto::jinja
