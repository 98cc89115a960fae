#include "server/model_service.h"

#include "server/convert_response.h"
#include "server/unary_call.h"

namespace kvpareto::server {

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* in,
                                                   grpc::ByteBuffer* out) {
  const auto list = [this](const v1::ListModelsRequest&, v1::ListModelsResponse* response) {
    for (const auto& [name, engine] : models_->engines()) {
      v1::Model* model = response->add_models();
      *model = ToProto(*engine);
      model->set_name(name);
      model->set_is_default(name == models_->default_name());
      model->set_state(engine->Stats().draining ? v1::MODEL_STATE_DRAINING : v1::MODEL_STATE_READY);
    }
    return absl::OkStatus();
  };
  return AnswerUnary<v1::ListModelsRequest, v1::ListModelsResponse>(*access_, context, in, out,
                                                                    list);
}

grpc::ServerUnaryReactor* ModelService::GetParetoTable(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* in,
                                                       grpc::ByteBuffer* out) {
  const auto get = [this](const v1::GetParetoTableRequest& request,
                          v1::GetParetoTableResponse* response) -> absl::Status {
    KVP_ASSIGN_OR_RETURN(const Models::Entry model, models_->Find(request.model()));
    response->set_model(model.name);
    *response->mutable_table() = ToProto(model.engine->table());
    return absl::OkStatus();
  };
  return AnswerUnary<v1::GetParetoTableRequest, v1::GetParetoTableResponse>(*access_, context, in,
                                                                            out, get);
}

}  // namespace kvpareto::server
