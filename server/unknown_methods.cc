#include "server/unknown_methods.h"

#include <grpcpp/impl/codegen/server_callback_handlers.h>

#include <string>

#include "server/security/admit.h"
#include "server/status_convert.h"
#include "server/utf8.h"

namespace kvpareto::server {
namespace {

// Deletes itself when done.
class Refusal final : public grpc::ServerGenericBidiReactor {
 public:
  explicit Refusal(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

grpc::ServerGenericBidiReactor* Refuse(const security::Access& access,
                                       grpc::CallbackServerContext* context,
                                       const std::string& method) {
  absl::Status status = security::Admit(access, *context).status();
  if (status.ok()) {
    status = MakeError(absl::StatusCode::kUnimplemented, "METHOD_UNKNOWN",
                       "this server has no method " + ReplaceInvalidUtf8(method));
  }
  return new Refusal(ToGrpcStatus(status, context));
}

constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

}  // namespace

grpc::ServerGenericBidiReactor* UnknownMethods::CreateReactor(
    grpc::GenericCallbackServerContext* context) {
  return Refuse(*access_, context, context->method());
}

NoReflection::NoReflection(const security::Access* access) {
  // As generated code does it: the description of this service is gRPC's, and cannot be there
  // twice.
  AddMethod(new grpc::internal::RpcServiceMethod(
      kReflection, grpc::internal::RpcMethod::BIDI_STREAMING, nullptr));
  MarkMethodRawCallback(0,
                        new grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                            [access](grpc::CallbackServerContext* context) {
                              return Refuse(*access, context, kReflection);
                            }));
}

}  // namespace kvpareto::server
