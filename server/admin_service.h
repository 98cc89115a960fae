// kvpareto.v1.AdminService.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <chrono>

#include "kvpareto/v1/admin.grpc.pb.h"
#include "server/drainer.h"

namespace kvpareto::server {

class AdminService final
    : public v1::AdminService::WithRawCallbackMethod_Drain<v1::AdminService::Service> {
 public:
  AdminService(Drainer* drainer, std::chrono::milliseconds default_timeout)
      : drainer_(drainer), default_timeout_(default_timeout) {}

  using v1::AdminService::WithRawCallbackMethod_Drain<v1::AdminService::Service>::Drain;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                  grpc::ByteBuffer* out) override;

 private:
  Drainer* const drainer_;
  const std::chrono::milliseconds default_timeout_;
};

}  // namespace kvpareto::server
