#include "clients/cli/errors.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "google/rpc/code.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace kvpareto::cli {
namespace {

void AppendInfo(const google::rpc::ErrorInfo& info, std::string* text) {
  absl::StrAppend(text, "  reason: ", info.reason(), " (", info.domain(), ")\n");
  // A protobuf map has no order; people like one.
  const std::map<std::string, std::string> sorted(info.metadata().begin(), info.metadata().end());
  for (const auto& [key, value] : sorted) absl::StrAppend(text, "  ", key, ": ", value, "\n");
}

void AppendDetail(const google::protobuf::Any& any, std::string* text) {
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad;
  google::rpc::RetryInfo retry;
  google::rpc::PreconditionFailure precondition;
  if (any.UnpackTo(&info)) {
    AppendInfo(info, text);
  } else if (any.UnpackTo(&bad)) {
    for (const auto& field : bad.field_violations()) {
      absl::StrAppend(text, "  field ", field.field(), ": ", field.description(), "\n");
    }
  } else if (any.UnpackTo(&retry)) {
    const double seconds = retry.retry_delay().seconds() + 1e-9 * retry.retry_delay().nanos();
    absl::StrAppendFormat(text, "  retry after: %.3g s\n", seconds);
  } else if (any.UnpackTo(&precondition)) {
    for (const auto& violation : precondition.violations()) {
      if (violation.subject().empty()) continue;  // it only repeats the message then
      absl::StrAppend(text, "  ", violation.subject(), ": ", violation.description(), "\n");
    }
  }
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

std::string CodeName(grpc::StatusCode code) {
  const std::string& name = google::rpc::Code_Name(static_cast<google::rpc::Code>(code));
  return name.empty() ? absl::StrCat("code ", static_cast<int>(code)) : name;
}

std::string DescribeError(const grpc::Status& status) {
  std::string text =
      absl::StrCat(CodeName(status.error_code()), ": ", status.error_message(), "\n");
  google::rpc::Status rich;
  if (rich.ParseFromString(status.error_details())) {
    for (const auto& any : rich.details()) AppendDetail(any, &text);
  }
  return text;
}

}  // namespace kvpareto::cli
