#include "server/security/admit.h"

#include <grpc/grpc_security_constants.h>

namespace kvpareto::server::security {

namespace {

// Of the call's metadata; "": there is none such.
std::string_view Metadata(const grpc::ServerContextBase& context, const char* key) {
  const auto found = context.client_metadata().find(key);
  if (found == context.client_metadata().end()) return {};
  return {found->second.data(), found->second.size()};
}

}  // namespace

absl::StatusOr<Caller> Admit(const Access& access, const grpc::ServerContextBase& context,
                             Permission permission) {
  Credentials credentials{.authorization = Metadata(context, "authorization"),
                          .peer_names = {},
                          .service_class = Metadata(context, "x-kvpareto-class")};
  const auto auth = context.auth_context();
  // gRPC has verified the certificate that these are from.
  for (const char* property : {GRPC_X509_SAN_PROPERTY_NAME, GRPC_X509_CN_PROPERTY_NAME}) {
    for (const grpc::string_ref& name : auth->FindPropertyValues(property)) {
      credentials.peer_names.emplace_back(name.data(), name.size());
    }
  }
  return access.Admit(credentials, permission);
}

absl::StatusOr<Caller> Admit(const Access& access, const http::Request& request) {
  return access.Admit({.authorization = request.authorization,
                       .peer_names = request.peer_names,
                       .service_class = request.service_class},
                      Permission::kUse);
}

}  // namespace kvpareto::server::security
