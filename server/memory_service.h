// kvpareto.v1.MemoryService.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "kvpareto/v1/memory.grpc.pb.h"
#include "server/memory_watch.h"
#include "server/models.h"

namespace kvpareto::server {

using RawMemoryService = v1::MemoryService::WithRawCallbackMethod_GetMemory<
    v1::MemoryService::WithRawCallbackMethod_WatchMemory<v1::MemoryService::Service>>;

class MemoryService final : public RawMemoryService {
 public:
  MemoryService(const Models* models, const security::Access* access)
      : models_(models), access_(access), watches_(models, access) {}

  using RawMemoryService::GetMemory;
  using RawMemoryService::WatchMemory;

  grpc::ServerUnaryReactor* GetMemory(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* in, grpc::ByteBuffer* out) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchMemory(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer* in) override;
  void StopWatches() { watches_.Stop(); }

 private:
  const Models* const models_;
  const security::Access* const access_;
  MemoryWatches watches_;
};

}  // namespace kvpareto::server
