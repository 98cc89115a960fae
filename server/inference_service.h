// kvpareto.v1.InferenceService.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "kvpareto/v1/inference.grpc.pb.h"
#include "server/generate_stream.h"

namespace kvpareto::server {

using RawInferenceService = v1::InferenceService::WithRawCallbackMethod_Generate<
    v1::InferenceService::WithRawCallbackMethod_CountTokens<
        v1::InferenceService::WithRawCallbackMethod_Plan<v1::InferenceService::Service>>>;

class InferenceService final : public RawInferenceService {
 public:
  explicit InferenceService(const GenerateResources& resources) : resources_(resources) {}

  using RawInferenceService::CountTokens;
  using RawInferenceService::Generate;
  using RawInferenceService::Plan;

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* in) override;
  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* in, grpc::ByteBuffer* out) override;
  grpc::ServerUnaryReactor* Plan(grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                                 grpc::ByteBuffer* out) override;

 private:
  const GenerateResources resources_;
};

}  // namespace kvpareto::server
