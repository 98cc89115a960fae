// Answers calls of methods that the server does not have, as every error is answered.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/impl/codegen/service_type.h>

#include "server/security/access.h"

namespace kvpareto::server {

class UnknownMethods final : public grpc::CallbackGenericService {
 public:
  explicit UnknownMethods(const security::Access* access) : access_(access) {}

 private:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;

  const security::Access* const access_;
};

// Stands where gRPC's reflection would be, which asks nobody for credentials and registers itself
// with every server of a program that is linked with it: whoever registers a method first has it.
class NoReflection final : public grpc::Service {
 public:
  explicit NoReflection(const security::Access* access);
};

}  // namespace kvpareto::server
