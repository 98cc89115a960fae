// absl::Status of the engine to what gRPC clients get: code, message, and google.rpc.Status with
// details in the trailer grpc-status-details-bin.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <optional>

#include "google/rpc/status.pb.h"
#include "server/status.h"

namespace kvpareto::server {

inline constexpr char kErrorDomain[] = "kvpareto";

// How long a client should wait before it tries again; nothing when trying again makes no sense.
std::optional<std::chrono::milliseconds> RetryDelay(const absl::Status& status);

// ErrorInfo always (reason: the code's name when the status has none); RetryInfo, BadRequest and
// PreconditionFailure where they apply. Long texts are cut: trailers are bounded by clients.
google::rpc::Status ToRpcStatus(const absl::Status& status);

// The same as gRPC's status; sets the trailer grpc-retry-pushback-ms on `context` (may be null)
// when trying again makes sense.
grpc::Status ToGrpcStatus(const absl::Status& status, grpc::ServerContextBase* context);

// "OK", "INVALID_ARGUMENT", ...
std::string CodeName(absl::StatusCode code);

}  // namespace kvpareto::server
