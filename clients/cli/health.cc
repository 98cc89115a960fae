// kvpareto health: what a container's health check asks.
#include <ostream>
#include <string>

#include "clients/cli/commands.h"
#include "clients/cli/errors.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/session.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace kvpareto::cli {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// Ready is what this service is; alive is what the server as a whole, "", is.
constexpr char kReadyService[] = "kvpareto.v1.InferenceService";

grpc::Status Run(const Args& args, Console& console) {
  const absl::StatusOr<Session> session = Session::Open(args);
  if (!session.ok()) return ToGrpc(session.status());
  HealthCheckRequest request;
  request.set_service(args.Has("live") ? "" : args.Text("service", kReadyService));
  HealthCheckResponse response;
  grpc::ClientContext context;
  session->Prepare(&context);
  const CancelOnInterrupt cancel(&context);
  const grpc::Status status =
      session->Stub<grpc::health::v1::Health>()->Check(&context, request, &response);
  if (!status.ok()) return status;
  const std::string verdict =
      HealthCheckResponse::ServingStatus_Name(static_cast<int>(response.status()));
  if (response.status() != HealthCheckResponse::SERVING) {
    return {grpc::StatusCode::UNAVAILABLE, verdict};
  }
  console.out << verdict << "\n";
  return grpc::Status::OK;
}

}  // namespace

Command HealthCommand() {
  return {
      .name = "health",
      .summary = "succeed if the server is ready for requests",
      .usage = "[FLAGS]",
      .flags = {{"live", "", "alive is enough: a server that drains is, one that is stuck is not"},
                {"service", "NAME", "of grpc.health.v1 (default: kvpareto.v1.InferenceService)"}},
      .run = Run};
}

}  // namespace kvpareto::cli
