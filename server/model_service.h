// kvpareto.v1.ModelService.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "kvpareto/v1/model.grpc.pb.h"
#include "server/models.h"
#include "server/security/access.h"

namespace kvpareto::server {

using RawModelService = v1::ModelService::WithRawCallbackMethod_ListModels<
    v1::ModelService::WithRawCallbackMethod_GetParetoTable<v1::ModelService::Service>>;

class ModelService final : public RawModelService {
 public:
  ModelService(const Models* models, const security::Access* access)
      : models_(models), access_(access) {}

  using RawModelService::GetParetoTable;
  using RawModelService::ListModels;

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* in, grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* GetParetoTable(grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer* in,
                                           grpc::ByteBuffer* out) override;

 private:
  const Models* const models_;
  const security::Access* const access_;
};

}  // namespace kvpareto::server
