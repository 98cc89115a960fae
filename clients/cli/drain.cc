// kvpareto drain: let running requests finish, take no more.
#include <cmath>
#include <ostream>

#include "clients/cli/commands.h"
#include "clients/cli/errors.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/session.h"
#include "kvpareto/v1/admin.grpc.pb.h"

namespace kvpareto::cli {
namespace {

grpc::Status Run(const Args& args, Console& console) {
  const absl::StatusOr<Session> session = Session::Open(args);
  if (!session.ok()) return ToGrpc(session.status());
  v1::DrainRequest request;
  if (args.Has("wait")) {
    int64_t seconds = 0;
    if (absl::Status status = args.Read("wait", &seconds); !status.ok()) return ToGrpc(status);
    request.mutable_timeout()->set_seconds(seconds);
  }
  v1::DrainResponse response;
  grpc::ClientContext context;
  session->Prepare(&context);
  const CancelOnInterrupt cancel(&context);
  const grpc::Status status =
      session->Stub<v1::AdminService>()->Drain(&context, request, &response);
  if (!status.ok()) return status;
  console.out << "drained; " << response.cancelled_requests() << " requests cancelled\n";
  return grpc::Status::OK;
}

}  // namespace

Command DrainCommand() {
  return {.name = "drain",
          .summary = "let the server finish its requests and take no more",
          .usage = "[FLAGS]",
          .flags = {{"wait", "SECONDS", "cancel what still runs then (default: the server's)"}},
          .run = Run};
}

}  // namespace kvpareto::cli
