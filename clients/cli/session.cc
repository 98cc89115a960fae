#include "clients/cli/session.h"

#include <grpcpp/create_channel.h>

#include <chrono>
#include <utility>

#include "clients/cli/credentials.h"
#include "clients/cli/environment.h"

namespace kvpareto::cli {

absl::StatusOr<Session> Session::Open(const Args& args) {
  Session session;
  session.server = args.Text("server", Environment("KVPARETO_SERVER", "127.0.0.1:50051"));
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
  absl::StatusOr<Credentials> credentials = CredentialsOfEnvironment();
  if (!credentials.ok()) return credentials.status();
  session.authorization = std::move(credentials->authorization);
  grpc::ChannelArguments arguments;
  if (!credentials->server_name.empty()) {
    arguments.SetSslTargetNameOverride(credentials->server_name);
  }
  session.channel = grpc::CreateCustomChannel(session.server, credentials->channel, arguments);
  return session;
}

void Session::Prepare(grpc::ClientContext* context) const {
  if (!authorization.empty()) context->AddMetadata("authorization", authorization);
  if (!timeout_seconds.has_value()) return;
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::duration_cast<std::chrono::system_clock::duration>(
                            std::chrono::duration<double>(*timeout_seconds)));
}

}  // namespace kvpareto::cli
