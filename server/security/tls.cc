#include "server/security/tls.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <fstream>
#include <utility>
#include <vector>

#include "server/log.h"
#include "server/security/watched_file.h"

namespace kvpareto::server::security {
namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

constexpr unsigned kReloadSeconds = 1;

absl::Status TlsInvalid(const std::string& file, const error_code& error) {
  const bool readable = std::ifstream(file).good();
  return MakeError(absl::StatusCode::kInvalidArgument, "TLS_INVALID",
                   file + ": " + (readable ? error.message() : "No such file, or not readable"));
}

}  // namespace

std::shared_ptr<grpc::ServerCredentials> GrpcCredentials(const TlsFiles& files) {
  if (!files.enabled()) return grpc::InsecureServerCredentials();
  using grpc::experimental::FileWatcherCertificateProvider;
  const auto provider = std::make_shared<FileWatcherCertificateProvider>(
      files.key, files.certificate, files.client_ca, kReloadSeconds);
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  options.watch_identity_key_cert_pairs();
  if (!files.client_ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<ssl::context>> MakeTlsContext(const TlsFiles& files) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  error_code error;
  context->use_certificate_chain_file(files.certificate, error);
  if (error) return TlsInvalid(files.certificate, error);
  context->use_private_key_file(files.key, ssl::context::pem, error);
  if (error) return TlsInvalid(files.key, error);
  if (files.client_ca.empty()) return context;
  context->load_verify_file(files.client_ca, error);
  if (error) return TlsInvalid(files.client_ca, error);
  context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert);
  // A resumed session would skip the check of a certificate that a new CA no longer signs.
  SSL_CTX_set_session_cache_mode(context->native_handle(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context->native_handle(), SSL_OP_NO_TICKET);
  return context;
}

std::function<std::shared_ptr<ssl::context>()> TlsContextSource(
    const TlsFiles& files, std::shared_ptr<ssl::context> first) {
  std::vector<WatchedFile> watched;
  for (const std::string& path : {files.certificate, files.key, files.client_ca}) {
    if (path.empty()) continue;
    watched.emplace_back(path).Changed();
  }
  return [files, watched, current = std::move(first)]() mutable {
    bool changed = false;
    for (WatchedFile& file : watched) changed |= file.Changed();
    if (!changed) return current;
    absl::StatusOr<std::shared_ptr<ssl::context>> made = MakeTlsContext(files);
    if (made.ok()) {
      current = *std::move(made);
      LogInfo("certificate reloaded", {{"certificate", files.certificate}});
    } else {
      LogError("certificate not reloaded", {{"error", std::string(made.status().message())}});
    }
    return current;
  };
}

}  // namespace kvpareto::server::security
