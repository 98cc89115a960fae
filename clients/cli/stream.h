// One Generate call, read to its end.
#pragma once

#include <grpcpp/support/status.h>

#include <functional>

#include "clients/cli/session.h"
#include "kvpareto/v1/inference.pb.h"

namespace kvpareto::cli {

struct StreamEvents {
  std::function<void(const v1::GeneratePlan&)> on_plan;
  // Returns false to cancel the call (nobody reads the output any more).
  std::function<bool(const v1::Delta&)> on_delta;
  std::function<void(const v1::GenerateResult&)> on_result;
};

// Blocks until the call has ended; Ctrl-C cancels it.
grpc::Status RunGenerate(const Session& session, const v1::GenerateRequest& request,
                         const StreamEvents& events);

}  // namespace kvpareto::cli
