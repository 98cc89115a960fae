// Who the client is and whom it trusts, from the environment: secrets do not belong on a command
// line.
#pragma once

#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace kvpareto::cli {

inline constexpr char kCredentialsHelp[] =
    "  KVPARETO_TOKEN        a bearer token\n"
    "  KVPARETO_CA           PEM file of the authority that signed the server's certificate\n"
    "                        (none: clear text)\n"
    "  KVPARETO_SERVER_NAME  the name in that certificate, where --server has another one\n"
    "  KVPARETO_CERTIFICATE  PEM files of the client's own certificate and its key\n"
    "  KVPARETO_KEY          (mutual TLS)\n";

struct Credentials {
  std::shared_ptr<grpc::ChannelCredentials> channel;
  std::string server_name;    // empty: that of the address
  std::string authorization;  // header; empty: none
};

// Errors: INVALID_ARGUMENT naming the variable, for a file that cannot be read, or for a
// certificate without its key or without KVPARETO_CA.
absl::StatusOr<Credentials> CredentialsOfEnvironment();

}  // namespace kvpareto::cli
