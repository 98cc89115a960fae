// The body of a POST to /v1/completions and /v1/chat/completions.
#include "server/openai/request.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/request_fuzz.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::OpenAiRequest(std::string_view input) {
  using server::openai::Endpoint;
  for (const Endpoint endpoint : {Endpoint::kChat, Endpoint::kCompletions}) {
    const auto call = server::openai::ParseCall(endpoint, std::string(input));
    CheckRefusal(call.status());
    if (call.ok()) Convert(call->request);
  }
}
