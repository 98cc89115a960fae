// What is done with a request that one of the APIs brought.
#pragma once

#include <string_view>

#include "kvpareto/v1/inference.pb.h"
#include "server/status.h"

namespace kvpareto::fuzz {

// Bytes as gRPC hands them to a service.
absl::Status ParseMessage(std::string_view bytes, google::protobuf::Message* message);

// To the engine's native type, as far as it goes without a model.
void Convert(const kvpareto::v1::GenerateRequest& request);

}  // namespace kvpareto::fuzz
