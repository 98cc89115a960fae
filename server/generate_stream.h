// One Generate call: a generation's events as messages of a gRPC stream. A reader that lets the
// bounded queue overflow loses the request: its memory is worth more.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>

#include "server/generation.h"
#include "server/stream_writer.h"

namespace kvpareto::server {

class GenerateStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                             public GenerationOutput {
 public:
  // The reactor of a new call; it owns itself until OnDone. `context` and `raw_request` live until
  // then too.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const GenerateResources& resources,
                                                           grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* raw_request);

  bool OnEvent(const v1::GenerateResponse& event) override;
  void OnEnd(const absl::Status& status) override { writer_.End(status); }

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { self_.reset(); }

 private:
  GenerateStream(grpc::CallbackServerContext* context, uint64_t buffer_bytes)
      : writer_(this, context, buffer_bytes) {}

  StreamWriter<grpc::ServerWriteReactor<grpc::ByteBuffer>> writer_;
  std::shared_ptr<Generation> generation_;
  std::shared_ptr<GenerateStream> self_;
};

}  // namespace kvpareto::server
