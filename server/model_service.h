// kvpareto.v1.ModelService.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "kvpareto/v1/model.grpc.pb.h"
#include "server/models.h"

namespace kvpareto::server {

using RawModelService = v1::ModelService::WithRawCallbackMethod_ListModels<
    v1::ModelService::WithRawCallbackMethod_GetParetoTable<v1::ModelService::Service>>;

class ModelService final : public RawModelService {
 public:
  explicit ModelService(const Models* models) : models_(models) {}

  using RawModelService::GetParetoTable;
  using RawModelService::ListModels;

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* in, grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* GetParetoTable(grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer* in,
                                           grpc::ByteBuffer* out) override;

 private:
  const Models* const models_;
};

}  // namespace kvpareto::server
