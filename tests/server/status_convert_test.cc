#include "server/status_convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "server/utf8.h"

namespace kvpareto::server {
namespace {

template <typename Detail>
std::optional<Detail> Find(const google::rpc::Status& rpc) {
  Detail detail;
  for (const auto& any : rpc.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

TEST(StatusConvert, CarriesReasonDomainAndMetadata) {
  const absl::Status status =
      MakeError(absl::StatusCode::kOutOfRange, "KV_EXCEEDS_CAPACITY", "too big",
                {{"needed_bytes", "12"}, {"available_bytes", "5"}});
  const grpc::Status converted = ToGrpcStatus(status, nullptr);
  EXPECT_EQ(converted.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(converted.error_message(), "too big");
  google::rpc::Status rpc;
  ASSERT_TRUE(rpc.ParseFromString(converted.error_details()));
  EXPECT_EQ(rpc.code(), 11);
  EXPECT_EQ(rpc.message(), "too big");
  const auto info = Find<google::rpc::ErrorInfo>(rpc);
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->reason(), "KV_EXCEEDS_CAPACITY");
  EXPECT_EQ(info->domain(), "kvpareto");
  EXPECT_EQ(info->metadata().at("needed_bytes"), "12");
  EXPECT_EQ(info->metadata().at("available_bytes"), "5");
  EXPECT_FALSE(Find<google::rpc::RetryInfo>(rpc).has_value());
  EXPECT_FALSE(Find<google::rpc::BadRequest>(rpc).has_value());
}

TEST(StatusConvert, DetailTypesAreTheOnesOthersKnow) {
  const google::rpc::Status rpc =
      ToRpcStatus(MakeError(absl::StatusCode::kUnavailable, "DRAINING", "later"));
  ASSERT_EQ(rpc.details_size(), 2);
  EXPECT_EQ(rpc.details(0).type_url(), "type.googleapis.com/google.rpc.ErrorInfo");
  EXPECT_EQ(rpc.details(1).type_url(), "type.googleapis.com/google.rpc.RetryInfo");
}

TEST(StatusConvert, RetryOnlyWhereItHelps) {
  const auto error = [](absl::StatusCode code, std::string_view reason) {
    return MakeError(code, reason, "m");
  };
  EXPECT_TRUE(RetryDelay(error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL")).has_value());
  EXPECT_TRUE(RetryDelay(error(absl::StatusCode::kUnavailable, "DRAINING")).has_value());
  EXPECT_FALSE(RetryDelay(error(absl::StatusCode::kResourceExhausted, "SLOW_READER")).has_value());
  EXPECT_FALSE(RetryDelay(error(absl::StatusCode::kInvalidArgument, "EMPTY_PROMPT")).has_value());
  EXPECT_FALSE(RetryDelay(absl::OkStatus()).has_value());
  const auto retry = Find<google::rpc::RetryInfo>(
      ToRpcStatus(error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL")));
  ASSERT_TRUE(retry.has_value());
  EXPECT_EQ(retry->retry_delay().seconds(), 1);
}

TEST(StatusConvert, FieldBecomesBadRequest) {
  const auto bad_request = Find<google::rpc::BadRequest>(ToRpcStatus(
      MakeError(absl::StatusCode::kInvalidArgument, "OPTION_INVALID",
                "kv.objective has no value of that number", {{"field", "kv.objective"}})));
  ASSERT_TRUE(bad_request.has_value());
  ASSERT_EQ(bad_request->field_violations_size(), 1);
  EXPECT_EQ(bad_request->field_violations(0).field(), "kv.objective");
}

TEST(StatusConvert, PreconditionNamesTheModel) {
  const auto failure = Find<google::rpc::PreconditionFailure>(
      ToRpcStatus(MakeError(absl::StatusCode::kFailedPrecondition, "CHAT_TEMPLATE_MISSING", "none",
                            {{"model", "tiny"}})));
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->violations(0).type(), "CHAT_TEMPLATE_MISSING");
  EXPECT_EQ(failure->violations(0).subject(), "tiny");
}

TEST(StatusConvert, PlainStatusGetsTheCodesName) {
  const auto info = Find<google::rpc::ErrorInfo>(ToRpcStatus(absl::InternalError("oops")));
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->reason(), "INTERNAL");
  EXPECT_EQ(info->domain(), "kvpareto");
}

TEST(StatusConvert, OkIsOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus(), nullptr).ok()); }

// Clients refuse trailers above 8 KiB, and strings must be UTF-8.
TEST(StatusConvert, BoundsAndRepairsText) {
  std::map<std::string, std::string> metadata;
  for (int i = 0; i < 100; ++i) metadata["key" + std::to_string(100 + i)] = std::string(90, 'x');
  metadata["a"] = std::string(5000, 'y');
  const std::string message = "bad \xff byte " + std::string(20000, 'z');
  const grpc::Status status =
      ToGrpcStatus(MakeError(absl::StatusCode::kInvalidArgument, "R", message, metadata), nullptr);
  EXPECT_LE(status.error_message().size() + status.error_details().size(), 6000u);
  EXPECT_EQ(ValidUtf8Prefix(status.error_message()), status.error_message().size());
  EXPECT_EQ(status.error_message().substr(0, 7), "bad \xEF\xBF\xBD");
}

}  // namespace
}  // namespace kvpareto::server
