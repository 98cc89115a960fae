#include "server/openai/error.h"

#include <nlohmann/json.hpp>

#include "google/rpc/error_details.pb.h"
#include "server/openai/json_text.h"
#include "server/status_convert.h"

namespace kvpareto::server::openai {
namespace {

std::string ErrorType(int http_status) {
  switch (http_status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    default:
      return http_status < 500 ? "invalid_request_error" : "server_error";
  }
}

}  // namespace

int HttpStatus(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;  // nobody is there to see it
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

std::string ErrorJson(const absl::Status& status) {
  const std::optional<ErrorInfo> info = GetErrorInfo(status);
  nlohmann::ordered_json error;
  error["message"] = ToRpcStatus(status).message();
  error["type"] = ErrorType(HttpStatus(status.code()));
  error["param"] = nullptr;
  error["code"] = info.has_value() ? info->reason : CodeName(status.code());
  if (info.has_value()) {
    if (const auto field = info->metadata.find("field"); field != info->metadata.end()) {
      error["param"] = field->second;
    }
    error["metadata"] = info->metadata;
  }
  return JsonText({{"error", error}});
}

http::Response ErrorResponse(const absl::Status& status) {
  http::Response response{.status = HttpStatus(status.code()), .body = ErrorJson(status)};
  if (const auto delay = RetryDelay(status)) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(*delay);
    response.headers.emplace_back("Retry-After", std::to_string(seconds.count()));
  }
  if (response.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace kvpareto::server::openai
