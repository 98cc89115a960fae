// kvpareto.v1.GenerateRequest in Protobuf's encoding.
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/request_fuzz.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::GenerateRequest(std::string_view input) {
  kvpareto::v1::GenerateRequest request;
  const absl::Status parsed = ParseMessage(input, &request);
  CheckRefusal(parsed);
  if (parsed.ok()) Convert(request);
}
