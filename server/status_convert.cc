#include "server/status_convert.h"

#include <string>

#include "absl/strings/numbers.h"
#include "google/rpc/code.pb.h"
#include "google/rpc/error_details.pb.h"
#include "server/utf8.h"

namespace kvpareto::server {
namespace {

// Clients refuse headers and trailers of more than 8 KiB by default.
constexpr size_t kMaxMessageBytes = 1024;
constexpr size_t kMaxMetadataValueBytes = 512;
constexpr size_t kMaxMetadataEntries = 16;
constexpr auto kRetryDelay = std::chrono::milliseconds(1000);  // where nothing better is known

std::string Text(absl::string_view text, size_t max_bytes) {
  return TruncateUtf8(ReplaceInvalidUtf8(std::string_view(text.data(), text.size())), max_bytes);
}

google::rpc::ErrorInfo ToErrorInfo(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  info.set_domain(kErrorDomain);
  info.set_reason(CodeName(status.code()));
  const std::optional<ErrorInfo> own = GetErrorInfo(status);
  if (!own.has_value()) return info;
  info.set_reason(own->reason);
  for (const auto& [key, value] : own->metadata) {
    if (info.metadata().size() == kMaxMetadataEntries) break;
    (*info.mutable_metadata())[key] = Text(value, kMaxMetadataValueBytes);
  }
  return info;
}

void AddBadRequest(const absl::Status& status, const google::rpc::ErrorInfo& info,
                   google::rpc::Status* rpc) {
  const auto field = info.metadata().find("field");
  if (field == info.metadata().end()) return;
  google::rpc::BadRequest bad_request;
  auto* violation = bad_request.add_field_violations();
  violation->set_field(field->second);
  violation->set_description(Text(status.message(), kMaxMetadataValueBytes));
  rpc->add_details()->PackFrom(bad_request);
}

void AddPreconditionFailure(const absl::Status& status, const google::rpc::ErrorInfo& info,
                            google::rpc::Status* rpc) {
  google::rpc::PreconditionFailure failure;
  auto* violation = failure.add_violations();
  violation->set_type(info.reason());
  const auto model = info.metadata().find("model");
  if (model != info.metadata().end()) violation->set_subject(model->second);
  violation->set_description(Text(status.message(), kMaxMetadataValueBytes));
  rpc->add_details()->PackFrom(failure);
}

void AddRetryInfo(std::chrono::milliseconds delay, google::rpc::Status* rpc) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(delay.count() / 1000);
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(delay.count() % 1000 * 1'000'000));
  rpc->add_details()->PackFrom(retry);
}

// As the engine estimates it from how fast memory comes free.
std::chrono::milliseconds EstimatedDelay(const std::optional<ErrorInfo>& info) {
  if (!info.has_value()) return kRetryDelay;
  const auto found = info->metadata.find("retry_after_ms");
  int64_t ms = 0;
  if (found == info->metadata.end() || !absl::SimpleAtoi(found->second, &ms)) return kRetryDelay;
  return std::chrono::milliseconds(ms);
}

}  // namespace

std::string CodeName(absl::StatusCode code) {
  return google::rpc::Code_Name(static_cast<google::rpc::Code>(code));
}

std::optional<std::chrono::milliseconds> RetryDelay(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kUnavailable) return kRetryDelay;
  const std::optional<ErrorInfo> info = GetErrorInfo(status);
  // The reader's own doing: the same request would end the same way.
  if (info.has_value() && info->reason == "SLOW_READER") return std::nullopt;
  if (status.code() == absl::StatusCode::kResourceExhausted) return EstimatedDelay(info);
  return std::nullopt;
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status rpc;
  rpc.set_code(static_cast<int32_t>(status.code()));
  rpc.set_message(Text(status.message(), kMaxMessageBytes));
  const google::rpc::ErrorInfo info = ToErrorInfo(status);
  rpc.add_details()->PackFrom(info);
  if (status.code() == absl::StatusCode::kInvalidArgument) AddBadRequest(status, info, &rpc);
  if (status.code() == absl::StatusCode::kFailedPrecondition) {
    AddPreconditionFailure(status, info, &rpc);
  }
  if (const auto delay = RetryDelay(status)) AddRetryInfo(*delay, &rpc);
  return rpc;
}

grpc::Status ToGrpcStatus(const absl::Status& status, grpc::ServerContextBase* context) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status rpc = ToRpcStatus(status);
  if (const auto delay = RetryDelay(status); delay.has_value() && context != nullptr) {
    context->AddTrailingMetadata("grpc-retry-pushback-ms", std::to_string(delay->count()));
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), rpc.message(),
                      rpc.SerializeAsString());
}

}  // namespace kvpareto::server
