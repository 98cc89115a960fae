#include <grpcpp/client_context.h>

#include <future>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "inference/open_inference.grpc.pb.h"
#include "kvpareto/v1/inference.grpc.pb.h"
#include "tests/reliability/clients.h"
#include "tests/reliability/loopback.h"
#include "tests/server/test_server.h"

namespace kvpareto::reliability {
namespace {

// What a call over gRPC has in common with others.
class GrpcCall : public Call {
 public:
  GrpcCall(int port, const CallSpec& spec) : channel_(port) {
    const auto timeout = spec.timeout.value_or(std::chrono::seconds(60));
    context_.set_deadline(std::chrono::system_clock::now() + timeout);
  }
  void Cancel() override { context_.TryCancel(); }
  void Kill() override {
    killed_ = true;
    channel_.Cut();
  }
  const std::string& text() const override { return text_; }

 protected:
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_.get(); }
  grpc::ClientContext& context() { return context_; }
  std::string& text() { return text_; }
  // The reason that the status names; without details, as from gRPC itself, its code.
  std::string ReasonOf(const grpc::Status& status) const {
    if (status.ok()) return "OK";
    if (killed_) return "GONE";
    const auto info = server::DetailOf<google::rpc::ErrorInfo>(status);
    return info.reason().empty()
               ? server::CodeName(static_cast<absl::StatusCode>(status.error_code()))
               : info.reason();
  }

 private:
  CuttableChannel channel_;
  grpc::ClientContext context_;
  std::string text_;
  bool killed_ = false;
};

class Generate final : public GrpcCall {
 public:
  Generate(int port, const CallSpec& spec) : GrpcCall(port, spec) {
    v1::GenerateRequest request;
    request.mutable_prompt()->set_text(PromptOf(spec));
    request.mutable_stopping()->set_max_tokens(spec.max_tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    if (spec.much_output) request.mutable_response()->set_top_logprobs(20);
    stub_ = v1::InferenceService::NewStub(channel());
    reader_ = stub_->Generate(&context(), request);
  }
  std::string Finish() override {
    v1::GenerateResponse response;
    while (reader_->Read(&response)) text() += response.delta().text();
    return ReasonOf(reader_->Finish());
  }

 private:
  std::unique_ptr<v1::InferenceService::Stub> stub_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
};

template <typename Value, typename Set>
void AddInput(const std::string& name, const std::string& datatype, const Value& value, Set set,
              inference::ModelInferRequest* request) {
  auto* input = request->add_inputs();
  input->set_name(name);
  input->set_datatype(datatype);
  input->add_shape(1);
  (input->mutable_contents()->*set)(value);
}

inference::ModelInferRequest InferRequest(const CallSpec& spec, bool stream) {
  using Contents = inference::InferTensorContents;
  inference::ModelInferRequest request;
  request.set_model_name("tiny");
  const auto text =
      static_cast<void (Contents::*)(const std::string&)>(&Contents::add_bytes_contents);
  AddInput("text_input", "BYTES", PromptOf(spec), text, &request);
  AddInput("max_tokens", "INT32", spec.max_tokens, &Contents::add_int_contents, &request);
  AddInput("ignore_eos", "BOOL", true, &Contents::add_bool_contents, &request);
  AddInput("stream", "BOOL", stream, &Contents::add_bool_contents, &request);
  return request;
}

// The output's text: a length of four bytes stands before it.
std::string TextOf(const inference::ModelInferResponse& response) {
  if (response.raw_output_contents().empty()) return "";
  const std::string& raw = response.raw_output_contents(0);
  return raw.size() < 4 ? "" : raw.substr(4);
}

class ModelInfer final : public GrpcCall {
 public:
  ModelInfer(int port, const CallSpec& spec) : GrpcCall(port, spec) {
    stub_ = inference::GRPCInferenceService::NewStub(channel());
    done_ = std::async(std::launch::async, [this, request = InferRequest(spec, false)] {
      return stub_->ModelInfer(&context(), request, &response_);
    });
  }
  std::string Finish() override {
    const grpc::Status status = done_.get();
    text() = TextOf(response_);
    return ReasonOf(status);
  }

 private:
  std::unique_ptr<inference::GRPCInferenceService::Stub> stub_;
  inference::ModelInferResponse response_;
  std::future<grpc::Status> done_;
};

class ModelStreamInfer final : public GrpcCall {
 public:
  ModelStreamInfer(int port, const CallSpec& spec) : GrpcCall(port, spec) {
    stub_ = inference::GRPCInferenceService::NewStub(channel());
    stream_ = stub_->ModelStreamInfer(&context());
    stream_->Write(InferRequest(spec, true));
    stream_->WritesDone();
  }
  // Errors of requests come as messages, "[CODE] REASON: ...", those of the stream as its status.
  std::string Finish() override {
    std::string reason;
    inference::ModelStreamInferResponse response;
    while (stream_->Read(&response)) {
      text() += TextOf(response.infer_response());
      const std::string& error = response.error_message();
      if (!error.empty())
        reason = error.substr(error.find(' ') + 1, error.find(':') - error.find(' ') - 1);
    }
    const std::string status = ReasonOf(stream_->Finish());
    return reason.empty() ? status : reason;
  }

 private:
  std::unique_ptr<inference::GRPCInferenceService::Stub> stub_;
  std::unique_ptr<
      grpc::ClientReaderWriter<inference::ModelInferRequest, inference::ModelStreamInferResponse>>
      stream_;
};

}  // namespace

std::unique_ptr<Call> GenerateCall(int grpc_port, const CallSpec& spec) {
  return std::make_unique<Generate>(grpc_port, spec);
}
std::unique_ptr<Call> ModelInferCall(int grpc_port, const CallSpec& spec) {
  return std::make_unique<ModelInfer>(grpc_port, spec);
}
std::unique_ptr<Call> ModelStreamInferCall(int grpc_port, const CallSpec& spec) {
  return std::make_unique<ModelStreamInfer>(grpc_port, spec);
}

}  // namespace kvpareto::reliability
