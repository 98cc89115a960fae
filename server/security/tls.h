// Certificates of the server's ports. Files that are replaced are taken for new connections,
// without a restart.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <memory>
#include <string>

#include "server/security/tls_files.h"
#include "server/status.h"

namespace kvpareto::server::security {

// Clear text when `files` says so.
std::shared_ptr<grpc::ServerCredentials> GrpcCredentials(const TlsFiles& files);

// A context from the files as they are now. Errors: INVALID_ARGUMENT (TLS_INVALID) naming the file.
absl::StatusOr<std::shared_ptr<boost::asio::ssl::context>> MakeTlsContext(const TlsFiles& files);

// The context for the next connection: made anew when a file has changed; where that fails the old
// one stays and the failure is logged. Not thread-safe.
std::function<std::shared_ptr<boost::asio::ssl::context>()> TlsContextSource(
    const TlsFiles& files, std::shared_ptr<boost::asio::ssl::context> first);

}  // namespace kvpareto::server::security
