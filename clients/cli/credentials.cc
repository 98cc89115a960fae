#include "clients/cli/credentials.h"

#include <fstream>
#include <sstream>
#include <utility>

#include "clients/cli/environment.h"

namespace kvpareto::cli {
namespace {

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
  if (options.pem_cert_chain.empty() != options.pem_private_key.empty()) {
    return absl::InvalidArgumentError("KVPARETO_CERTIFICATE and KVPARETO_KEY: one needs the other");
  }
  if (options.pem_root_certs.empty()) {
    if (options.pem_cert_chain.empty()) return grpc::InsecureChannelCredentials();
    return absl::InvalidArgumentError("KVPARETO_CERTIFICATE needs KVPARETO_CA");
  }
  return grpc::SslCredentials(options);
}

}  // namespace

absl::StatusOr<Credentials> CredentialsOfEnvironment() {
  Credentials credentials;
  const std::string token = Environment("KVPARETO_TOKEN");
  if (!token.empty()) credentials.authorization = "Bearer " + token;
  credentials.server_name = Environment("KVPARETO_SERVER_NAME");
  absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> channel = ChannelCredentials();
  if (!channel.ok()) return channel.status();
  credentials.channel = *std::move(channel);
  return credentials;
}

}  // namespace kvpareto::cli
