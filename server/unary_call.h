// One unary RPC on the callback API: parse, call, convert the status.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <utility>

#include "server/raw_message.h"
#include "server/security/admit.h"
#include "server/status.h"
#include "server/status_convert.h"
#include "server/worker_pool.h"

namespace kvpareto::server {

// Finishes `reactor` with what `method(const Request&, Response*) -> absl::Status` gives.
template <typename Request, typename Response, typename Method>
void FinishUnary(grpc::ServerUnaryReactor* reactor, grpc::CallbackServerContext* context,
                 const grpc::ByteBuffer* in, grpc::ByteBuffer* out, const Method& method) {
  Request request;
  Response response;
  absl::Status status = ParseRaw(*in, &request);
  if (status.ok()) status = method(request, &response);
  if (status.ok()) *out = SerializeRaw(response);
  reactor->Finish(ToGrpcStatus(status, context));
}

// Answers at once, on gRPC's thread, those whom `access` admits.
template <typename Request, typename Response, typename Method>
grpc::ServerUnaryReactor* AnswerUnary(const security::Access& access,
                                      grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* in, grpc::ByteBuffer* out,
                                      const Method& method,
                                      security::Permission needs = security::Permission::kUse) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();  // once: it constructs it
  const absl::Status admitted = security::Admit(access, *context, needs).status();
  if (admitted.ok()) {
    FinishUnary<Request, Response>(reactor, context, in, out, method);
  } else {
    reactor->Finish(ToGrpcStatus(admitted, context));
  }
  return reactor;
}

inline absl::Status TooManyPreparing() {
  return MakeError(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                   "too many requests are being tokenized; try again");
}

// The same with `method(const security::Caller&, const Request&, Response*)` on a thread of `pool`;
// RESOURCE_EXHAUSTED when too much waits for it. The reactor, and with it `context`, `in` and
// `out`, live until Finish.
template <typename Request, typename Response, typename Method>
grpc::ServerUnaryReactor* AnswerUnaryOn(WorkerPool* pool, const security::Access& access,
                                        grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* in, grpc::ByteBuffer* out,
                                        Method method) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::StatusOr<security::Caller> caller = security::Admit(access, *context);
  if (!caller.ok()) {
    reactor->Finish(ToGrpcStatus(caller.status(), context));
    return reactor;
  }
  const auto call = [caller = *caller, method = std::move(method)](
                        const Request& request, Response* response) -> absl::Status {
    return method(caller, request, response);
  };
  const bool accepted =
      pool->TryRun([=] { FinishUnary<Request, Response>(reactor, context, in, out, call); });
  if (!accepted) reactor->Finish(ToGrpcStatus(TooManyPreparing(), context));
  return reactor;
}

}  // namespace kvpareto::server
