// Tokens to a parsed template.
#pragma once

#include <string>

#include "engine/base/status.h"
#include "engine/text/jinja_ast.h"

namespace kvpareto::jinja {

// Errors: UNIMPLEMENTED (CHAT_TEMPLATE_UNSUPPORTED) naming the first construct that is not
// understood, a syntax error included.
absl::StatusOr<Body> ParseTemplate(const std::string& source);

}  // namespace kvpareto::jinja
