#include "clients/cli/session.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

namespace kvpareto::cli {

namespace {

std::string Environment(const char* name, const std::string& absent = "") {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : absent;
}

// The text of the file that the variable names; "" when it names none.
absl::StatusOr<std::string> FileOf(const char* variable) {
  const std::string path = Environment(variable);
  if (path.empty()) return "";
  std::ifstream file(path);
  std::stringstream text;
  if (file && (text << file.rdbuf())) return text.str();
  return absl::InvalidArgumentError(std::string(variable) + ": cannot read " + path);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentials() {
  grpc::SslCredentialsOptions options;
  for (const auto& [variable, text] : {std::pair("KVPARETO_CA", &options.pem_root_certs),
                                       std::pair("KVPARETO_CERTIFICATE", &options.pem_cert_chain),
                                       std::pair("KVPARETO_KEY", &options.pem_private_key)}) {
    absl::StatusOr<std::string> file = FileOf(variable);
    if (!file.ok()) return file.status();
    *text = *std::move(file);
  }
  if (options.pem_root_certs.empty()) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials(options);
}

}  // namespace

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
  const std::string token = Environment("KVPARETO_TOKEN");
  if (!token.empty()) session.authorization = "Bearer " + token;
  absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> credentials = ChannelCredentials();
  if (!credentials.ok()) return credentials.status();
  session.channel = grpc::CreateChannel(session.server, *credentials);
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
