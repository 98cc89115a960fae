#include "fake_server.h"

#include <chrono>
#include <thread>

namespace kvpareto::cli {

grpc::Status FakeInference::Generate(grpc::ServerContext* context,
                                     const v1::GenerateRequest* request,
                                     grpc::ServerWriter<v1::GenerateResponse>* writer) {
  requests.push_back(*request);
  for (const v1::GenerateResponse& response : responses) writer->Write(response);
  while (hang && !context->IsCancelled()) {
    hanging = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  cancelled = context->IsCancelled();
  return status;
}

grpc::Status FakeInference::CountTokens(grpc::ServerContext*, const v1::CountTokensRequest* request,
                                        v1::CountTokensResponse* response) {
  count_request = *request;
  *response = count;
  return grpc::Status::OK;
}

grpc::Status FakeInference::Plan(grpc::ServerContext*, const v1::PlanRequest* request,
                                 v1::PlanResponse* response) {
  requests.push_back(request->request());
  *response = plan;
  return status;
}

grpc::Status FakeMemory::GetMemory(grpc::ServerContext*, const v1::GetMemoryRequest*,
                                   v1::GetMemoryResponse* response) {
  *response->mutable_memory() = snapshot;
  return grpc::Status::OK;
}

grpc::Status FakeMemory::WatchMemory(grpc::ServerContext*, const v1::WatchMemoryRequest* request,
                                     grpc::ServerWriter<v1::WatchMemoryResponse>* writer) {
  watch_request = *request;
  v1::WatchMemoryResponse response;
  *response.mutable_memory() = snapshot;
  writer->Write(response);
  writer->Write(response);
  return grpc::Status::OK;
}

grpc::Status FakeModels::ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                                    v1::ListModelsResponse* response) {
  *response = models;
  return grpc::Status::OK;
}

grpc::Status FakeModels::GetParetoTable(grpc::ServerContext*, const v1::GetParetoTableRequest*,
                                        v1::GetParetoTableResponse* response) {
  *response = table;
  return grpc::Status::OK;
}

FakeServer::FakeServer() {
  int port = 0;
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&inference);
  builder.RegisterService(&memory);
  builder.RegisterService(&models);
  server = builder.BuildAndStart();
  address = "127.0.0.1:" + std::to_string(port);
}

FakeServer::~FakeServer() { server->Shutdown(); }

}  // namespace kvpareto::cli
