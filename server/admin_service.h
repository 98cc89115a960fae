// kvpareto.v1.AdminService.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <chrono>

#include "kvpareto/v1/admin.grpc.pb.h"
#include "server/drainer.h"
#include "server/security/access.h"
#include "server/slo_loader.h"

namespace kvpareto::server {

class AdminService final
    : public v1::AdminService::WithRawCallbackMethod_ReloadSlo<
          v1::AdminService::WithRawCallbackMethod_Drain<v1::AdminService::Service>> {
 public:
  AdminService(Drainer* drainer, const security::Access* access,
               std::chrono::milliseconds default_timeout, SloLoader* slo)
      : drainer_(drainer), access_(access), default_timeout_(default_timeout), slo_(slo) {}

  using v1::AdminService::WithRawCallbackMethod_Drain<v1::AdminService::Service>::Drain;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                  grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* ReloadSlo(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* in, grpc::ByteBuffer* out) override;

 private:
  Drainer* const drainer_;
  const security::Access* const access_;
  const std::chrono::milliseconds default_timeout_;
  SloLoader* const slo_;
};

}  // namespace kvpareto::server
