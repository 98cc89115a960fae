// inference.GRPCInferenceService: the Open Inference Protocol on the same port.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "inference/open_inference.grpc.pb.h"
#include "server/generation.h"
#include "server/health.h"

namespace kvpareto::server::oip {

using Stub = inference::GRPCInferenceService;
using RawService = Stub::WithRawCallbackMethod_ServerLive<
    Stub::WithRawCallbackMethod_ServerReady<Stub::WithRawCallbackMethod_ModelReady<
        Stub::WithRawCallbackMethod_ServerMetadata<Stub::WithRawCallbackMethod_ModelMetadata<
            Stub::WithRawCallbackMethod_ModelInfer<Stub::WithRawCallbackMethod_ModelStreamInfer<
                Stub::WithRawCallbackMethod_ModelConfig<Stub::WithRawCallbackMethod_ModelStatistics<
                    Stub::WithRawCallbackMethod_RepositoryIndex<
                        Stub::WithRawCallbackMethod_RepositoryModelLoad<
                            Stub::WithRawCallbackMethod_RepositoryModelUnload<
                                Stub::Service>>>>>>>>>>>>;

class Service final : public RawService {
 public:
  using Context = grpc::CallbackServerContext;
  using Buffer = grpc::ByteBuffer;
  using UnaryReactor = grpc::ServerUnaryReactor;

  // `health` outlives the service.
  Service(const GenerateResources& resources, const Health* health, int max_requests_per_stream)
      : resources_(resources), health_(health), max_requests_per_stream_(max_requests_per_stream) {}

  UnaryReactor* ServerLive(Context* context, const Buffer* in, Buffer* out) override;
  UnaryReactor* ServerReady(Context* context, const Buffer* in, Buffer* out) override;
  UnaryReactor* ModelReady(Context* context, const Buffer* in, Buffer* out) override;
  UnaryReactor* ServerMetadata(Context* context, const Buffer* in, Buffer* out) override;
  UnaryReactor* ModelMetadata(Context* context, const Buffer* in, Buffer* out) override;
  UnaryReactor* ModelInfer(Context* context, const Buffer* in, Buffer* out) override;
  grpc::ServerBidiReactor<Buffer, Buffer>* ModelStreamInfer(Context* context) override;
  UnaryReactor* ModelConfig(Context* context, const Buffer* in, Buffer* out) override;
  UnaryReactor* ModelStatistics(Context* context, const Buffer* in, Buffer* out) override;
  UnaryReactor* RepositoryIndex(Context* context, const Buffer* in, Buffer* out) override;
  UnaryReactor* RepositoryModelLoad(Context* context, const Buffer* in, Buffer* out) override;
  UnaryReactor* RepositoryModelUnload(Context* context, const Buffer* in, Buffer* out) override;

 private:
  const GenerateResources resources_;
  const Health* const health_;
  const int max_requests_per_stream_;
};

}  // namespace kvpareto::server::oip
