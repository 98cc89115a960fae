// The connection to one server, and what every call of a command has in common.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "clients/cli/args.h"

namespace kvpareto::cli {

struct Session {
  std::string server;  // host:port
  std::shared_ptr<grpc::Channel> channel;
  std::string model;  // empty: the server's default
  std::optional<double> timeout_seconds;
  std::string authorization;  // header; empty: none

  // Connects lazily: no error here if nobody listens. Credentials are those of the environment
  // (credentials.h).
  static absl::StatusOr<Session> Open(const Args& args);

  // Sets the deadline and the credentials, if there are any.
  void Prepare(grpc::ClientContext* context) const;

  template <typename Service>
  std::unique_ptr<typename Service::Stub> Stub() const {
    return Service::NewStub(channel);
  }
};

}  // namespace kvpareto::cli
