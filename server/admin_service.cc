#include "server/admin_service.h"

#include "server/raw_message.h"
#include "server/security/admit.h"
#include "server/status_convert.h"
#include "server/unary_call.h"

namespace kvpareto::server {
namespace {

absl::StatusOr<std::chrono::milliseconds> ToTimeout(const v1::DrainRequest& request,
                                                    std::chrono::milliseconds default_timeout) {
  if (!request.has_timeout()) return default_timeout;
  constexpr int64_t kMaxSeconds = 24 * 3600;
  const google::protobuf::Duration& timeout = request.timeout();
  if (timeout.seconds() < 0 || timeout.seconds() > kMaxSeconds || timeout.nanos() < 0 ||
      timeout.nanos() >= 1'000'000'000) {
    return MakeError(absl::StatusCode::kInvalidArgument, "OPTION_INVALID",
                     "timeout must be from 0 s to 24 h", {{"field", "timeout"}});
  }
  return std::chrono::seconds(timeout.seconds()) +
         std::chrono::milliseconds(timeout.nanos() / 1'000'000);
}

}  // namespace

grpc::ServerUnaryReactor* AdminService::Drain(grpc::CallbackServerContext* context,
                                              const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto start = [&]() -> absl::Status {
    KVP_RETURN_IF_ERROR(security::Admit(*access_, *context, security::Permission::kAdmin).status());
    v1::DrainRequest request;
    KVP_RETURN_IF_ERROR(ParseRaw(*in, &request));
    KVP_ASSIGN_OR_RETURN(const auto timeout, ToTimeout(request, default_timeout_));
    return drainer_->DrainInBackground(
        std::chrono::steady_clock::now() + timeout, [reactor, out](uint64_t cancelled) {
          v1::DrainResponse response;
          response.set_cancelled_requests(static_cast<int64_t>(cancelled));
          *out = SerializeRaw(response);
          reactor->Finish(grpc::Status::OK);
        });
  };
  if (const absl::Status status = start(); !status.ok()) {
    reactor->Finish(ToGrpcStatus(status, context));
  }
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::ReloadSlo(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* in,
                                                  grpc::ByteBuffer* out) {
  return AnswerUnary<v1::ReloadSloRequest, v1::ReloadSloResponse>(
      *access_, context, in, out,
      [this](const v1::ReloadSloRequest& /*request*/, v1::ReloadSloResponse* response) {
        KVP_RETURN_IF_ERROR(slo_->Reload());
        response->set_content_hash(slo_->state().content_hash);
        return absl::OkStatus();
      },
      security::Permission::kAdmin);
}

}  // namespace kvpareto::server
