// How many fields a serialized message has. In memory a field takes tens of bytes however short it
// is on the wire, so that a small message of many fields could become a very large object.
#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstddef>

namespace kvpareto::server {

// More than any request needs: token ids are one packed field.
inline constexpr size_t kMaxRequestFields = 65'536;

// Whether `raw`, a message of `type`, has at most `limit` fields, those of nested messages and
// unknown ones included. Bytes that are no such message are the parser's to refuse: what comes
// before them counts.
bool HasAtMostFields(const grpc::ByteBuffer& raw, const google::protobuf::Descriptor& type,
                     size_t limit);

}  // namespace kvpareto::server
