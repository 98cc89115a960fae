#include "server/generate_stream.h"

#include "server/convert_request.h"
#include "server/raw_message.h"
#include "server/security/admit.h"

namespace kvpareto::server {

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateStream::Start(
    const GenerateResources& resources, grpc::CallbackServerContext* context,
    const grpc::ByteBuffer* raw_request) {
  std::shared_ptr<GenerateStream> stream(
      new GenerateStream(context, resources.stream_buffer_bytes));
  const auto parse = [raw_request]() -> absl::StatusOr<v1::GenerateRequest> {
    v1::GenerateRequest request;
    KVP_RETURN_IF_ERROR(ParseRaw(*raw_request, &request));
    return request;
  };
  stream->generation_ =
      std::make_shared<Generation>(resources, security::Admit(*resources.access, *context), parse,
                                   ToDeadline(context->raw_deadline()), stream);
  stream->self_ = stream;
  stream->generation_->Start();
  return stream.get();
}

bool GenerateStream::OnEvent(const v1::GenerateResponse& event) {
  if (!event.has_result()) return writer_.Push(SerializeRaw(event));
  writer_.PushLast(SerializeRaw(event));
  return true;
}

void GenerateStream::OnWriteDone(bool ok) {
  if (!ok) generation_->Cancel();
  writer_.OnWriteDone(ok);
}

void GenerateStream::OnCancel() {
  generation_->Cancel();
  writer_.Abandon();
}

}  // namespace kvpareto::server
