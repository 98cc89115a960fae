// Messages as gRPC carries them. Services parse their own requests: gRPC answers a request that
// does not parse with a bare UNIMPLEMENTED, we say what is wrong.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "server/status.h"

namespace kvpareto::server {

// Errors: INVALID_ARGUMENT: TOO_MANY_FIELDS (field_count.h), INVALID_UTF8 with metadata "field" for
// a string that is no UTF-8, otherwise MALFORMED_REQUEST.
absl::Status ParseRaw(const grpc::ByteBuffer& raw, google::protobuf::Message* message);

grpc::ByteBuffer SerializeRaw(const google::protobuf::Message& message);

}  // namespace kvpareto::server
