// Errors as OpenAI's clients expect them.
#pragma once

#include "server/http/exchange.h"
#include "server/status.h"

namespace kvpareto::server::openai {

int HttpStatus(absl::StatusCode code);

// {"error": {"message", "type", "param", "code", "metadata"}}: code is our reason (docs/errors.md),
// param the field that is wrong, or null.
std::string ErrorJson(const absl::Status& status);

// With the header Retry-After where trying again makes sense.
http::Response ErrorResponse(const absl::Status& status);

}  // namespace kvpareto::server::openai
