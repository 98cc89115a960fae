// inference.ModelInferRequest in Protobuf's encoding.
#include "server/oip/convert.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/request_fuzz.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::InferRequest(std::string_view input) {
  inference::ModelInferRequest request;
  const absl::Status parsed = ParseMessage(input, &request);
  CheckRefusal(parsed);
  if (!parsed.ok()) return;
  const auto call = server::oip::ToInferCall(request);
  CheckRefusal(call.status());
  if (call.ok()) Convert(call->request);
}
