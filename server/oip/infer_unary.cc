#include "server/oip/infer_unary.h"

#include "server/oip/deadline.h"
#include "server/raw_message.h"
#include "server/security/admit.h"
#include "server/status_convert.h"

namespace kvpareto::server::oip {
namespace {

absl::StatusOr<InferCall> ToUnaryCall(const inference::ModelInferRequest& request) {
  KVP_ASSIGN_OR_RETURN(InferCall call, ToInferCall(request));
  if (call.stream) {
    return MakeError(absl::StatusCode::kInvalidArgument, "OPTION_INVALID",
                     "inputs.stream must be false in ModelInfer: use ModelStreamInfer",
                     {{"field", "inputs.stream"}});
  }
  call.empty_final_response = false;  // there is one response
  return call;
}

}  // namespace

grpc::ServerUnaryReactor* InferUnary::Start(const GenerateResources& resources,
                                            grpc::CallbackServerContext* context,
                                            const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  std::shared_ptr<InferUnary> infer(new InferUnary(context, out));
  infer->self_ = infer;
  if (const absl::Status status = infer->Begin(resources, *in); !status.ok()) {
    infer->OnEnd(status);
  }
  return infer.get();
}

absl::Status InferUnary::Begin(const GenerateResources& resources, const grpc::ByteBuffer& in) {
  KVP_ASSIGN_OR_RETURN(security::Caller caller, security::Admit(*resources.access, *context_));
  inference::ModelInferRequest request;
  KVP_RETURN_IF_ERROR(ParseRaw(in, &request));
  KVP_ASSIGN_OR_RETURN(InferCall call, ToUnaryCall(request));
  responder_.emplace(std::move(call), request.id());
  generation_ = std::make_shared<Generation>(
      resources, std::move(caller), [request = responder_->call().request] { return request; },
      EarlierDeadline(context_->raw_deadline(), responder_->call().timeout), self_);
  generation_->Start();
  return absl::OkStatus();
}

bool InferUnary::OnEvent(const v1::GenerateResponse& event) {
  for (const auto& response : responder_->OnEvent(event)) *out_ = SerializeRaw(response);
  return true;
}

void InferUnary::OnEnd(const absl::Status& status) { Finish(ToGrpcStatus(status, context_)); }

void InferUnary::OnCancel() {
  if (generation_ != nullptr) generation_->Cancel();
}

}  // namespace kvpareto::server::oip
