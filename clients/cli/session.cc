#include "clients/cli/session.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <chrono>
#include <cstdlib>

namespace kvpareto::cli {

absl::StatusOr<Session> Session::Open(const Args& args) {
  const char* environment = std::getenv("KVPARETO_SERVER");
  const bool from_environment = environment != nullptr && *environment != '\0';
  Session session;
  session.server = args.Text("server", from_environment ? environment : "127.0.0.1:50051");
  session.model = args.Text("model");
  if (args.Has("timeout")) {
    double seconds = 0.0;
    if (absl::Status status = args.Read("timeout", &seconds); !status.ok()) return status;
    // Beyond a year the clock's arithmetic, not the caller, would decide.
    if (!(seconds > 0.0 && seconds < 366.0 * 86400.0)) {
      return absl::InvalidArgumentError("--timeout: expected seconds, more than 0, at most a year");
    }
    session.timeout_seconds = seconds;
  }
  session.channel = grpc::CreateChannel(session.server, grpc::InsecureChannelCredentials());
  return session;
}

void Session::Prepare(grpc::ClientContext* context) const {
  if (!timeout_seconds.has_value()) return;
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::duration_cast<std::chrono::system_clock::duration>(
                            std::chrono::duration<double>(*timeout_seconds)));
}

}  // namespace kvpareto::cli
