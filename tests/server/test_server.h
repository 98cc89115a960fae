// A server on a free loopback port, and what tests need to talk to it.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "kvpareto/v1/admin.grpc.pb.h"
#include "kvpareto/v1/inference.grpc.pb.h"
#include "kvpareto/v1/memory.grpc.pb.h"
#include "kvpareto/v1/model.grpc.pb.h"
#include "server/server.h"
#include "server/status_convert.h"

namespace kvpareto::server {

inline ServerConfig LoopbackConfig() {
  ServerConfig config;
  config.grpc_address = "127.0.0.1:0";
  config.metrics_address = "";  // the exposer takes 2 s to stop
  config.service_classes = {"default", "batch"};
  return config;
}

class TestServer {
 public:
  explicit TestServer(Models::Map engines, const ServerConfig& config = LoopbackConfig()) {
    const std::string default_name = engines.begin()->first;
    auto started =
        Server::Start(config, std::make_unique<Models>(std::move(engines), default_name));
    EXPECT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    channel_ = NewChannel();
  }

  Server& server() { return *server_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(server_->grpc_port()); }
  std::shared_ptr<grpc::Channel> NewChannel(grpc::ChannelArguments arguments = {}) const {
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    return grpc::CreateCustomChannel(address(), grpc::InsecureChannelCredentials(), arguments);
  }
  std::shared_ptr<grpc::Channel> channel() const { return channel_; }
  std::unique_ptr<v1::InferenceService::Stub> inference() const {
    return v1::InferenceService::NewStub(channel_);
  }
  std::unique_ptr<v1::MemoryService::Stub> memory() const {
    return v1::MemoryService::NewStub(channel_);
  }
  std::unique_ptr<v1::ModelService::Stub> models() const {
    return v1::ModelService::NewStub(channel_);
  }
  std::unique_ptr<v1::AdminService::Stub> admin() const {
    return v1::AdminService::NewStub(channel_);
  }
  std::unique_ptr<grpc::health::v1::Health::Stub> health() const {
    return grpc::health::v1::Health::NewStub(channel_);
  }

 private:
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

// What a Generate call gave.
struct Generated {
  std::vector<v1::GenerateResponse> responses;
  grpc::Status status;

  std::string text(int sequence = 0) const {
    std::string all;
    for (const auto& response : responses) {
      if (response.delta().sequence() == sequence) all += response.delta().text();
    }
    return all;
  }
};

inline Generated ReadAll(grpc::ClientReader<v1::GenerateResponse>* reader) {
  Generated generated;
  v1::GenerateResponse response;
  while (reader->Read(&response)) generated.responses.push_back(response);
  generated.status = reader->Finish();
  return generated;
}

inline Generated Generate(const TestServer& server, const v1::GenerateRequest& request,
                          std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  const auto stub = server.inference();
  return ReadAll(stub->Generate(&context, request).get());
}

inline v1::GenerateRequest TextRequest(const std::string& text, int max_tokens = 0) {
  v1::GenerateRequest request;
  request.mutable_prompt()->set_text(text);
  if (max_tokens != 0) request.mutable_stopping()->set_max_tokens(max_tokens);
  return request;
}

// The first detail of that type in the status's trailer; a default one if there is none.
template <typename Detail>
Detail DetailOf(const grpc::Status& status) {
  google::rpc::Status rpc;
  EXPECT_TRUE(rpc.ParseFromString(status.error_details()));
  Detail detail;
  for (const auto& any : rpc.details()) {
    if (any.UnpackTo(&detail)) break;
  }
  return detail;
}

// "RESOURCE_EXHAUSTED SLOW_READER", or "OK".
inline std::string Verdict(const grpc::Status& status) {
  if (status.ok()) return "OK";
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  return CodeName(static_cast<absl::StatusCode>(status.error_code())) + " " + info.reason();
}

}  // namespace kvpareto::server
