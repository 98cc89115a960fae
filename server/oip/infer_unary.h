// One ModelInfer call: a generation whose whole text is one response.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>

#include "server/generation.h"
#include "server/oip/responder.h"

namespace kvpareto::server::oip {

class InferUnary final : public grpc::ServerUnaryReactor, public GenerationOutput {
 public:
  // The reactor of a new call; it owns itself until OnDone. The other arguments live until then
  // too.
  static grpc::ServerUnaryReactor* Start(const GenerateResources& resources,
                                         grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* in, grpc::ByteBuffer* out);

  bool OnEvent(const v1::GenerateResponse& event) override;
  void OnEnd(const absl::Status& status) override;

  void OnCancel() override;
  void OnDone() override { self_.reset(); }

 private:
  InferUnary(grpc::CallbackServerContext* context, grpc::ByteBuffer* out)
      : context_(context), out_(out) {}
  absl::Status Begin(const GenerateResources& resources, const grpc::ByteBuffer& in);

  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const out_;
  std::optional<Responder> responder_;
  std::shared_ptr<Generation> generation_;  // none: refused before there was one
  std::shared_ptr<InferUnary> self_;
};

}  // namespace kvpareto::server::oip
