#include "tests/fuzz/request_fuzz.h"

#include "server/convert_request.h"
#include "server/raw_message.h"
#include "tests/fuzz/fuzz_input.h"

namespace kvpareto::fuzz {

absl::Status ParseMessage(std::string_view bytes, google::protobuf::Message* message) {
  const grpc::Slice slice(bytes.data(), bytes.size());
  return server::ParseRaw(grpc::ByteBuffer(&slice, 1), message);
}

void Convert(const kvpareto::v1::GenerateRequest& request) {
  const auto native = server::ToRequest(request, {"default", "gold"});
  CheckRefusal(native.status());
  if (native.ok()) CheckRefusal(native->sampling.Validate(/*vocab=*/1000));
}

}  // namespace kvpareto::fuzz
