// Requests of OpenAI's API as requests of kvpareto.v1.
#pragma once

#include <string>

#include "kvpareto/v1/inference.pb.h"
#include "server/status.h"

namespace kvpareto::server::openai {

enum class Endpoint { kCompletions, kChat };

struct Call {
  Endpoint endpoint = Endpoint::kChat;
  v1::GenerateRequest request;
  bool stream = false;
  bool include_usage = false;  // in a stream: a last chunk with the usage
  bool logprobs = false;
};

// `body` is the JSON of POST /v1/completions or /v1/chat/completions. Options that would change the
// answer in a way that this server cannot are refused, never ignored. Errors: INVALID_ARGUMENT with
// metadata "field": JSON_INVALID, OPTION_INVALID, OPTION_UNKNOWN, OPTION_UNSUPPORTED.
absl::StatusOr<Call> ParseCall(Endpoint endpoint, const std::string& body);

}  // namespace kvpareto::server::openai
