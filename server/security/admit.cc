#include "server/security/admit.h"

#include <grpc/grpc_security_constants.h>

namespace kvpareto::server::security {

absl::StatusOr<Caller> Admit(const Access& access, const grpc::ServerContextBase& context,
                             Permission permission) {
  Credentials credentials;
  const auto header = context.client_metadata().find("authorization");
  if (header != context.client_metadata().end()) {
    credentials.authorization = {header->second.data(), header->second.size()};
  }
  const auto auth = context.auth_context();
  // gRPC has verified the certificate that these are from.
  for (const char* property : {GRPC_X509_SAN_PROPERTY_NAME, GRPC_X509_CN_PROPERTY_NAME}) {
    for (const grpc::string_ref name : auth->FindPropertyValues(property)) {
      credentials.peer_names.emplace_back(name.data(), name.size());
    }
  }
  return access.Admit(credentials, permission);
}

absl::StatusOr<Caller> Admit(const Access& access, const http::Request& request) {
  return access.Admit({.authorization = request.authorization, .peer_names = request.peer_names},
                      Permission::kUse);
}

}  // namespace kvpareto::server::security
