#include "server/raw_message.h"

#include <gtest/gtest.h>

#include "kvpareto/v1/inference.pb.h"

namespace kvpareto::server {
namespace {

grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

TEST(RawMessage, RoundTrip) {
  v1::GenerateRequest request;
  request.mutable_prompt()->set_text("na\xc3\xafve");
  request.mutable_sampling()->set_seed(7);
  v1::GenerateRequest parsed;
  ASSERT_TRUE(ParseRaw(SerializeRaw(request), &parsed).ok());
  EXPECT_EQ(parsed.SerializeAsString(), request.SerializeAsString());
}

TEST(RawMessage, EmptyBufferIsAnEmptyMessage) {
  v1::GenerateRequest parsed;
  EXPECT_TRUE(ParseRaw(ToBuffer(""), &parsed).ok());
}

TEST(RawMessage, NamesTheStringThatIsNotUtf8) {
  v1::GenerateRequest request;
  request.mutable_prompt()->set_text("bad \xff");
  v1::GenerateRequest parsed;
  absl::Status status = ParseRaw(SerializeRaw(request), &parsed);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorInfo(status)->reason, "INVALID_UTF8");
  EXPECT_EQ(GetErrorInfo(status)->metadata.at("field"), "prompt.text");

  request.Clear();
  request.mutable_prompt()->mutable_messages()->add_messages()->set_content("fine");
  request.mutable_prompt()->mutable_messages()->add_messages()->set_content("\xc3");
  parsed.Clear();
  status = ParseRaw(SerializeRaw(request), &parsed);
  EXPECT_EQ(GetErrorInfo(status)->metadata.at("field"), "prompt.messages.messages.content");

  request.Clear();
  request.mutable_stopping()->add_stop_strings("ok");
  request.mutable_stopping()->add_stop_strings("\xed\xa0\x80");
  parsed.Clear();
  status = ParseRaw(SerializeRaw(request), &parsed);
  EXPECT_EQ(GetErrorInfo(status)->metadata.at("field"), "stopping.stop_strings");
}

TEST(RawMessage, GarbageIsMalformed) {
  for (const std::string bytes : {"\xff\xff\xff", "\x0a\x7f short", "\x1a\x05\x0a\xff"}) {
    v1::GenerateRequest parsed;
    const absl::Status status = ParseRaw(ToBuffer(bytes), &parsed);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(GetErrorInfo(status)->reason, "MALFORMED_REQUEST");
  }
}

}  // namespace
}  // namespace kvpareto::server
