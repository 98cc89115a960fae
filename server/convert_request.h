// Requests of the API to the engine's native types. Checks what the proto allows and the native
// type does not have; everything else is checked by the engine.
#pragma once

#include <grpc/support/time.h>

#include <chrono>
#include <optional>
#include <set>
#include <string>

#include "engine/request.h"
#include "kvpareto/v1/inference.pb.h"
#include "server/status.h"

namespace kvpareto::server {

inline constexpr size_t kMaxRequestIdBytes = 128;
// Whether `id` can be a request's: at most that long, printable ASCII without blanks.
bool IsRequestId(const std::string& id);

// Errors: INVALID_ARGUMENT (EMPTY_PROMPT) when nothing is set.
absl::StatusOr<Prompt> ToPrompt(const v1::Prompt& prompt);

// Errors: INVALID_ARGUMENT with metadata "field": EMPTY_PROMPT, MAX_TOKENS_INVALID, OPTION_INVALID,
// SERVICE_CLASS_UNKNOWN, REQUEST_ID_INVALID.
absl::StatusOr<Request> ToRequest(const v1::GenerateRequest& proto,
                                  const std::set<std::string>& service_classes);

// gRPC's deadline on the engine's clock; nothing when there is none (or none within a year).
std::optional<std::chrono::steady_clock::time_point> ToDeadline(gpr_timespec deadline);

}  // namespace kvpareto::server
