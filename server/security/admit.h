// Access for the two transports.
#pragma once

#include <grpcpp/server_context.h>

#include "server/http/exchange.h"
#include "server/security/access.h"

namespace kvpareto::server::security {

absl::StatusOr<Caller> Admit(const Access& access, const grpc::ServerContextBase& context,
                             Permission permission = Permission::kUse);
absl::StatusOr<Caller> Admit(const Access& access, const http::Request& request);

}  // namespace kvpareto::server::security
