// A server that answers with what a test gave it, and keeps what it was asked.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "kvpareto/v1/inference.grpc.pb.h"
#include "kvpareto/v1/memory.grpc.pb.h"
#include "kvpareto/v1/model.grpc.pb.h"

namespace kvpareto::cli {

class FakeInference : public v1::InferenceService::Service {
 public:
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status CountTokens(grpc::ServerContext*, const v1::CountTokensRequest* request,
                           v1::CountTokensResponse* response) override;
  grpc::Status Plan(grpc::ServerContext*, const v1::PlanRequest* request,
                    v1::PlanResponse* response) override;

  std::vector<v1::GenerateResponse> responses;
  grpc::Status status;               // of Generate and Plan
  bool hang = false;                 // Generate waits, after the responses, until it is cancelled
  std::atomic<bool> hanging{false};  // it does
  std::atomic<bool> cancelled{false};
  v1::PlanResponse plan;
  v1::CountTokensResponse count;
  std::vector<v1::GenerateRequest> requests;  // of Generate and Plan
  v1::CountTokensRequest count_request;
};

class FakeMemory : public v1::MemoryService::Service {
 public:
  grpc::Status GetMemory(grpc::ServerContext*, const v1::GetMemoryRequest* request,
                         v1::GetMemoryResponse* response) override;
  // Two samples, then the end.
  grpc::Status WatchMemory(grpc::ServerContext*, const v1::WatchMemoryRequest* request,
                           grpc::ServerWriter<v1::WatchMemoryResponse>* writer) override;

  v1::MemorySnapshot snapshot;
  v1::WatchMemoryRequest watch_request;
};

class FakeModels : public v1::ModelService::Service {
 public:
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override;
  grpc::Status GetParetoTable(grpc::ServerContext*, const v1::GetParetoTableRequest*,
                              v1::GetParetoTableResponse* response) override;

  v1::ListModelsResponse models;
  v1::GetParetoTableResponse table;
};

struct FakeServer {
  FakeServer();
  ~FakeServer();

  FakeInference inference;
  FakeMemory memory;
  FakeModels models;
  std::unique_ptr<grpc::Server> server;
  std::string address;
};

}  // namespace kvpareto::cli
