#include "server/inference_service.h"

#include <utility>

#include "server/convert_request.h"
#include "server/convert_response.h"
#include "server/unary_call.h"

namespace kvpareto::server {
namespace {

absl::Status CountTokensOf(const Models& models, const v1::CountTokensRequest& request,
                           v1::CountTokensResponse* response) {
  KVP_ASSIGN_OR_RETURN(const Models::Entry model, models.Find(request.model()));
  KVP_ASSIGN_OR_RETURN(const Prompt prompt, ToPrompt(request.prompt()));
  KVP_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, model.engine->Tokenize(prompt));
  response->set_tokens(static_cast<int64_t>(tokens.size()));
  response->set_context_tokens(model.engine->model().config.context_tokens);
  if (request.token_ids()) response->mutable_ids()->Assign(tokens.begin(), tokens.end());
  return absl::OkStatus();
}

absl::Status PlanOf(const GenerateResources& resources, const security::Caller& caller,
                    v1::GenerateRequest request, v1::PlanResponse* response) {
  KVP_ASSIGN_OR_RETURN(const Models::Entry model, resources.models->Find(request.model()));
  KVP_RETURN_IF_ERROR(caller.ResolveClass(&request));
  KVP_ASSIGN_OR_RETURN(Request native, ToRequest(request, *resources.service_classes));
  KVP_ASSIGN_OR_RETURN(const Engine::Prepared prepared, model.engine->Prepare(std::move(native)));
  response->set_model(model.name);
  response->set_prompt_tokens(static_cast<int64_t>(prepared.prompt_tokens.size()));
  response->set_max_tokens(prepared.max_tokens);
  *response->mutable_kv() = ToProto(prepared.plan);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* in) {
  return GenerateStream::Start(resources_, context, in);
}

grpc::ServerUnaryReactor* InferenceService::CountTokens(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* in,
                                                        grpc::ByteBuffer* out) {
  return AnswerUnaryOn<v1::CountTokensRequest, v1::CountTokensResponse>(
      resources_.workers, *resources_.access, context, in, out,
      [this](const auto&, const auto& request, auto* response) {
        return CountTokensOf(*resources_.models, request, response);
      });
}

grpc::ServerUnaryReactor* InferenceService::Plan(grpc::CallbackServerContext* context,
                                                 const grpc::ByteBuffer* in,
                                                 grpc::ByteBuffer* out) {
  return AnswerUnaryOn<v1::PlanRequest, v1::PlanResponse>(
      resources_.workers, *resources_.access, context, in, out,
      [this](const auto& caller, const auto& request, auto* response) {
        return PlanOf(resources_, caller, request.request(), response);
      });
}

}  // namespace kvpareto::server
