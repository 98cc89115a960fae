// Errors of calls and of the command line, in one form.
#pragma once

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace kvpareto::cli {

// Both have the same codes. An absl status of this program carries no details.
grpc::Status ToGrpc(const absl::Status& status);

// "INVALID_ARGUMENT".
std::string CodeName(grpc::StatusCode code);

// What a person needs of an error: code, message, and from its details the reason, the metadata,
// bad fields and when to retry. Lines, each ending in a newline.
std::string DescribeError(const grpc::Status& status);

}  // namespace kvpareto::cli
