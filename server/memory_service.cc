#include "server/memory_service.h"

#include "server/memory_snapshot.h"
#include "server/unary_call.h"

namespace kvpareto::server {

grpc::ServerUnaryReactor* MemoryService::GetMemory(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* in,
                                                   grpc::ByteBuffer* out) {
  const auto get = [this](const v1::GetMemoryRequest& request,
                          v1::GetMemoryResponse* response) -> absl::Status {
    KVP_ASSIGN_OR_RETURN(*response->mutable_memory(),
                         TakeMemorySnapshot(*models_, request.model()));
    return absl::OkStatus();
  };
  return AnswerUnary<v1::GetMemoryRequest, v1::GetMemoryResponse>(*access_, context, in, out, get);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* MemoryService::WatchMemory(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* in) {
  return watches_.Start(context, in);
}

}  // namespace kvpareto::server
