#include "server/field_count.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

namespace kvpareto::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr int kMaxDepth = 100;  // as the parser's own

class Counter {
 public:
  Counter(CodedInputStream* in, size_t limit) : in_(in), left_(limit) {}

  bool exceeded() const { return exceeded_; }

  // Reads to the end of a message of `type` (null: a group that the type does not know). False: no
  // need to go on.
  bool Read(const Descriptor* type, int depth) {
    while (const uint32_t tag = in_->ReadTag()) {
      if (left_ == 0) {
        exceeded_ = true;
        return false;
      }
      --left_;
      const FieldDescriptor* field =
          type == nullptr ? nullptr
                          : type->FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
      if (!ReadValue(tag, field, depth)) return false;
    }
    return true;
  }

 private:
  bool ReadValue(uint32_t tag, const FieldDescriptor* field, int depth) {
    uint64_t varint;
    uint32_t length;
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        return in_->ReadVarint64(&varint);
      case WireFormatLite::WIRETYPE_FIXED64:
        return in_->Skip(8);
      case WireFormatLite::WIRETYPE_FIXED32:
        return in_->Skip(4);
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
        if (!in_->ReadVarint32(&length)) return false;
        return ReadBytes(static_cast<int>(length), field, depth);
      case WireFormatLite::WIRETYPE_START_GROUP:
      case WireFormatLite::WIRETYPE_END_GROUP:
        return true;  // what is inside counts as if it stood here
      default:
        return false;
    }
  }

  bool ReadBytes(int length, const FieldDescriptor* field, int depth) {
    if (length < 0 || depth >= kMaxDepth) return false;
    if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      return in_->Skip(length);
    }
    const CodedInputStream::Limit limit = in_->PushLimit(length);
    const bool go_on = Read(field->message_type(), depth + 1) && in_->BytesUntilLimit() == 0;
    in_->PopLimit(limit);
    return go_on;
  }

  CodedInputStream* const in_;
  size_t left_;
  bool exceeded_ = false;
};

}  // namespace

bool HasAtMostFields(const grpc::ByteBuffer& raw, const Descriptor& type, size_t limit) {
  grpc::ByteBuffer copy = raw;  // shares the slices
  grpc::ProtoBufferReader reader(&copy);
  CodedInputStream in(&reader);
  Counter counter(&in, limit);
  counter.Read(&type, 0);
  return !counter.exceeded();
}

}  // namespace kvpareto::server
