#include "server/raw_message.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "server/field_count.h"
#include "server/log.h"
#include "server/utf8.h"

namespace kvpareto::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Path of the first string of `message` that is not UTF-8, or "".
std::string FindInvalidString(const Message& message);

std::string FindInvalidIn(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection* reflection = message.GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    const Message& inner = index < 0 ? reflection->GetMessage(message, field)
                                     : reflection->GetRepeatedMessage(message, field, index);
    const std::string path = FindInvalidString(inner);
    return path.empty() ? "" : field->name() + "." + path;
  }
  if (field->type() != FieldDescriptor::TYPE_STRING) return "";
  std::string scratch;
  const std::string& text =
      index < 0 ? reflection->GetStringReference(message, field, &scratch)
                : reflection->GetRepeatedStringReference(message, field, index, &scratch);
  return ValidUtf8Prefix(text) == text.size() ? "" : field->name();
}

std::string FindInvalidString(const Message& message) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? message.GetReflection()->FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      std::string path = FindInvalidIn(message, field, field->is_repeated() ? i : -1);
      if (!path.empty()) return path;
    }
  }
  return "";
}

}  // namespace

absl::Status ParseRaw(const grpc::ByteBuffer& raw, Message* message) {
  if (!HasAtMostFields(raw, *message->GetDescriptor(), kMaxRequestFields)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TOO_MANY_FIELDS",
                     "a request has at most " + std::to_string(kMaxRequestFields) + " fields");
  }
  grpc::ByteBuffer copy = raw;  // shares the slices; Deserialize clears it
  if (grpc::GenericDeserialize<grpc::ProtoBufferReader, Message>(&copy, message).ok()) {
    return absl::OkStatus();
  }
  // The parser stops at the string that it refuses, having stored it.
  const std::string field = FindInvalidString(*message);
  if (!field.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_UTF8",
                     field + " is not valid UTF-8", {{"field", field}});
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "MALFORMED_REQUEST",
                   "the request is no " + message->GetDescriptor()->full_name());
}

grpc::ByteBuffer SerializeRaw(const Message& message) {
  grpc::ByteBuffer raw;
  bool own_buffer = false;
  const grpc::Status status =
      grpc::GenericSerialize<grpc::ProtoBufferWriter, Message>(message, &raw, &own_buffer);
  if (!status.ok()) {  // only beyond 2 GiB, which nothing here can reach
    LogError("cannot serialize", {{"type", message.GetDescriptor()->full_name()}});
    std::abort();
  }
  return raw;
}

}  // namespace kvpareto::server
