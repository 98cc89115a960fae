#include "server/oip/service.h"

#include "server/oip/convert.h"
#include "server/oip/infer_stream.h"
#include "server/oip/infer_unary.h"
#include "server/oip/model_facts.h"
#include "server/unary_call.h"
#include "server/version.h"

namespace kvpareto::server::oip {
namespace {

absl::StatusOr<Models::Entry> FindModel(const Models& models, const std::string& name,
                                        const std::string& version) {
  KVP_RETURN_IF_ERROR(CheckVersion(name, version));
  return models.Find(name);
}

absl::Status ModelControlUnsupported() {
  return MakeError(absl::StatusCode::kUnimplemented, "MODEL_CONTROL_UNSUPPORTED",
                   "models are loaded at the start, as the configuration file says");
}

absl::Status StatisticsOf(const GenerateResources& resources,
                          const inference::ModelStatisticsRequest& request,
                          inference::ModelStatisticsResponse* response) {
  if (!request.name().empty()) {
    KVP_ASSIGN_OR_RETURN(const Models::Entry model,
                         FindModel(*resources.models, request.name(), request.version()));
    *response->add_model_stats() = Statistics(model.name, *model.engine, *resources.counter);
    return absl::OkStatus();
  }
  for (const auto& [name, engine] : resources.models->engines()) {
    *response->add_model_stats() = Statistics(name, *engine, *resources.counter);
  }
  return absl::OkStatus();
}

void IndexOf(const Models& models, bool only_ready, inference::RepositoryIndexResponse* response) {
  for (const auto& [name, engine] : models.engines()) {
    const bool draining = engine->Stats().draining;
    if (draining && only_ready) continue;
    inference::RepositoryIndexResponse::ModelIndex* model = response->add_models();
    model->set_name(name);
    model->set_version(kVersion);
    model->set_state(draining ? "UNAVAILABLE" : "READY");
    if (draining) model->set_reason("draining");
  }
}

}  // namespace

grpc::ServerUnaryReactor* Service::ServerLive(Context* context, const Buffer* in, Buffer* out) {
  const auto live = [this](const inference::ServerLiveRequest&, auto* response) {
    response->set_live(health_->live());
    return absl::OkStatus();
  };
  return AnswerUnary<inference::ServerLiveRequest, inference::ServerLiveResponse>(
      *resources_.access, context, in, out, live);
}

grpc::ServerUnaryReactor* Service::ServerReady(Context* context, const Buffer* in, Buffer* out) {
  const auto ready = [this](const inference::ServerReadyRequest&, auto* response) {
    response->set_ready(health_->ready());
    return absl::OkStatus();
  };
  return AnswerUnary<inference::ServerReadyRequest, inference::ServerReadyResponse>(
      *resources_.access, context, in, out, ready);
}

grpc::ServerUnaryReactor* Service::ModelReady(Context* context, const Buffer* in, Buffer* out) {
  const auto ready = [this](const inference::ModelReadyRequest& request, auto* response) {
    const auto model = FindModel(*resources_.models, request.name(), request.version());
    response->set_ready(model.ok() && health_->ready());
    return absl::OkStatus();
  };
  return AnswerUnary<inference::ModelReadyRequest, inference::ModelReadyResponse>(
      *resources_.access, context, in, out, ready);
}

grpc::ServerUnaryReactor* Service::ServerMetadata(Context* context, const Buffer* in, Buffer* out) {
  const auto describe = [](const inference::ServerMetadataRequest&, auto* response) {
    response->set_name("kvpareto");
    response->set_version(kServerVersion);
    response->add_extensions("model_configuration");
    response->add_extensions("statistics");
    return absl::OkStatus();
  };
  return AnswerUnary<inference::ServerMetadataRequest, inference::ServerMetadataResponse>(
      *resources_.access, context, in, out, describe);
}

grpc::ServerUnaryReactor* Service::ModelMetadata(Context* context, const Buffer* in, Buffer* out) {
  const auto describe = [this](const inference::ModelMetadataRequest& request,
                               inference::ModelMetadataResponse* response) -> absl::Status {
    KVP_ASSIGN_OR_RETURN(const Models::Entry model,
                         FindModel(*resources_.models, request.name(), request.version()));
    *response = Metadata(model.name);
    return absl::OkStatus();
  };
  return AnswerUnary<inference::ModelMetadataRequest, inference::ModelMetadataResponse>(
      *resources_.access, context, in, out, describe);
}

grpc::ServerUnaryReactor* Service::ModelInfer(Context* context, const Buffer* in, Buffer* out) {
  return InferUnary::Start(resources_, context, in, out);
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Service::ModelStreamInfer(
    Context* context) {
  return InferStream::Start(resources_, context, max_requests_per_stream_);
}

grpc::ServerUnaryReactor* Service::ModelConfig(Context* context, const Buffer* in, Buffer* out) {
  const auto describe = [this](const inference::ModelConfigRequest& request,
                               inference::ModelConfigResponse* response) -> absl::Status {
    KVP_ASSIGN_OR_RETURN(const Models::Entry model,
                         FindModel(*resources_.models, request.name(), request.version()));
    *response->mutable_config() = Config(model.name, *model.engine);
    return absl::OkStatus();
  };
  return AnswerUnary<inference::ModelConfigRequest, inference::ModelConfigResponse>(
      *resources_.access, context, in, out, describe);
}

grpc::ServerUnaryReactor* Service::ModelStatistics(Context* context, const Buffer* in,
                                                   Buffer* out) {
  const auto count = [this](const inference::ModelStatisticsRequest& request, auto* response) {
    return StatisticsOf(resources_, request, response);
  };
  return AnswerUnary<inference::ModelStatisticsRequest, inference::ModelStatisticsResponse>(
      *resources_.access, context, in, out, count);
}

grpc::ServerUnaryReactor* Service::RepositoryIndex(Context* context, const Buffer* in,
                                                   Buffer* out) {
  const auto list = [this](const inference::RepositoryIndexRequest& request, auto* response) {
    IndexOf(*resources_.models, request.ready(), response);
    return absl::OkStatus();
  };
  return AnswerUnary<inference::RepositoryIndexRequest, inference::RepositoryIndexResponse>(
      *resources_.access, context, in, out, list);
}

grpc::ServerUnaryReactor* Service::RepositoryModelLoad(Context* context, const Buffer* in,
                                                       Buffer* out) {
  const auto refuse = [](const auto&, auto*) { return ModelControlUnsupported(); };
  return AnswerUnary<inference::RepositoryModelLoadRequest, inference::RepositoryModelLoadResponse>(
      *resources_.access, context, in, out, refuse);
}

grpc::ServerUnaryReactor* Service::RepositoryModelUnload(Context* context, const Buffer* in,
                                                         Buffer* out) {
  const auto refuse = [](const auto&, auto*) { return ModelControlUnsupported(); };
  return AnswerUnary<inference::RepositoryModelUnloadRequest,
                     inference::RepositoryModelUnloadResponse>(*resources_.access, context, in, out,
                                                               refuse);
}

}  // namespace kvpareto::server::oip
