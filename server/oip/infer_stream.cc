#include "server/oip/infer_stream.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/oip/deadline.h"
#include "server/oip/responder.h"
#include "server/raw_message.h"
#include "server/security/admit.h"

namespace kvpareto::server::oip {
namespace {

bool ErrorsEndTheCall(const grpc::CallbackServerContext& context) {
  const auto header = context.client_metadata().find("triton_grpc_error");
  return header != context.client_metadata().end() && header->second == "true";
}

inference::ModelStreamInferResponse ErrorResponse(const std::string& id,
                                                  const absl::Status& status) {
  inference::ModelStreamInferResponse response;
  const google::rpc::Status rpc = ToRpcStatus(status);
  const std::optional<ErrorInfo> info = GetErrorInfo(status);
  const std::string reason = info.has_value() ? info->reason : CodeName(status.code());
  response.set_error_message("[" + CodeName(status.code()) + "] " + reason + ": " + rpc.message());
  response.mutable_infer_response()->set_id(id);
  auto& parameters = *response.mutable_infer_response()->mutable_parameters();
  parameters["triton_final_response"].set_bool_param(true);
  return response;
}

}  // namespace

class InferStream::Output final : public GenerationOutput {
 public:
  Output(std::shared_ptr<InferStream> stream, uint64_t number, InferCall call, std::string id)
      : stream_(std::move(stream)), number_(number), responder_(std::move(call), std::move(id)) {}

  bool OnEvent(const v1::GenerateResponse& event) override {
    for (auto& response : responder_.OnEvent(event)) {
      inference::ModelStreamInferResponse message;
      *message.mutable_infer_response() = std::move(response);
      if (!stream_->writer_.Push(SerializeRaw(message))) return false;
    }
    return true;
  }
  void OnEnd(const absl::Status& status) override {
    stream_->OnRequestEnd(number_, responder_.id(), status);
  }

 private:
  const std::shared_ptr<InferStream> stream_;
  const uint64_t number_;
  Responder responder_;
};

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* InferStream::Start(
    const GenerateResources& resources, grpc::CallbackServerContext* context, int max_requests) {
  std::shared_ptr<InferStream> stream(new InferStream(resources, context, max_requests));
  stream->self_ = stream;
  if (stream->caller_.ok()) {
    stream->Continue();
  } else {
    stream->writer_.End(stream->caller_.status());
  }
  return stream.get();
}

InferStream::InferStream(const GenerateResources& resources, grpc::CallbackServerContext* context,
                         int max_requests)
    : resources_(resources),
      context_(context),
      caller_(security::Admit(*resources.access, *context)),
      max_requests_(max_requests),
      errors_end_the_call_(ErrorsEndTheCall(*context)),
      writer_(this, context, resources.stream_buffer_bytes) {}

void InferStream::Continue() {
  bool end = false;
  {
    const std::lock_guard lock(mutex_);
    end = !reading_ && no_more_reads_ && running_.empty() && reporting_ == 0;
    if (!reading_ && !no_more_reads_ && running_.size() < max_requests_) {
      reading_ = true;
      // Under the lock, for whoever ends the call says first that there are no more reads: gRPC
      // could let go of a call that has ended before its read is started.
      StartRead(&read_);
    }
  }
  if (end) writer_.End(absl::OkStatus());
}

void InferStream::OnReadDone(bool ok) {
  if (ok) {
    inference::ModelInferRequest request;
    absl::Status status = ParseRaw(read_, &request);
    if (status.ok()) status = StartRequest(request);
    if (!status.ok()) ReportError(request.id(), status);
  }
  {
    const std::lock_guard lock(mutex_);
    reading_ = false;
    if (!ok) no_more_reads_ = true;
  }
  Continue();
}

absl::Status InferStream::StartRequest(const inference::ModelInferRequest& request) {
  KVP_ASSIGN_OR_RETURN(InferCall call, ToInferCall(request));
  const auto deadline = EarlierDeadline(context_->raw_deadline(), call.timeout);
  std::shared_ptr<Generation> generation;
  {
    const std::lock_guard lock(mutex_);
    if (no_more_reads_) return absl::OkStatus();
    const uint64_t number = ++last_number_;
    const auto parse = [request = call.request] { return request; };
    generation = std::make_shared<Generation>(
        resources_, caller_, parse, deadline,
        std::make_shared<Output>(shared_from_this(), number, std::move(call), request.id()));
    running_.emplace(number, generation);
  }
  generation->Start();
  return absl::OkStatus();
}

void InferStream::OnRequestEnd(uint64_t number, const std::string& id, const absl::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    running_.erase(number);
    // Else whoever reads the end of the client's side meanwhile ends the call without the error.
    ++reporting_;
  }
  if (!status.ok()) ReportError(id, status);
  {
    const std::lock_guard lock(mutex_);
    --reporting_;
  }
  Continue();
}

void InferStream::ReportError(const std::string& id, const absl::Status& status) {
  const std::optional<ErrorInfo> info = GetErrorInfo(status);
  absl::Status end = status;
  // A slow reader has no place for a message.
  if (!errors_end_the_call_ && !(info.has_value() && info->reason == "SLOW_READER")) {
    if (writer_.Push(SerializeRaw(ErrorResponse(id, status)))) return;
    end = SlowReader(resources_.stream_buffer_bytes);
  }
  CancelRequests();
  writer_.End(end);
}

void InferStream::CancelRequests() {
  std::vector<std::shared_ptr<Generation>> running;
  {
    const std::lock_guard lock(mutex_);
    no_more_reads_ = true;
    for (const auto& [number, generation] : running_) running.push_back(generation);
  }
  for (const auto& generation : running) generation->Cancel();
}

void InferStream::OnWriteDone(bool ok) {
  if (!ok) CancelRequests();
  writer_.OnWriteDone(ok);
}

void InferStream::OnCancel() {
  CancelRequests();
  writer_.Abandon();
  Continue();
}

}  // namespace kvpareto::server::oip
