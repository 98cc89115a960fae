// A method of a gRPC server and the thread that made the server touch one number without a lock, as
// an engine's thread and a handler could. Although TSan is told what gRPC orders (grpc_order.cc),
// it must say so.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "kvpareto/v1/model.grpc.pb.h"

namespace {

using kvpareto::v1::ListModelsRequest;
using kvpareto::v1::ListModelsResponse;
using kvpareto::v1::ModelService;

int calls = 0;

void CountCall() { ++calls; }

class Service final : public ModelService::CallbackService {
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const ListModelsRequest*, ListModelsResponse*) override {
    CountCall();
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

}  // namespace

int main() {
  Service service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  const auto stub = ModelService::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  // While calls are under way, so that nothing orders the two by chance.
  std::atomic<bool> done = false;
  std::thread caller([&] {
    for (int i = 0; i < 100; ++i) {
      grpc::ClientContext context;
      ListModelsResponse response;
      stub->ListModels(&context, {}, &response);
    }
    done.store(true, std::memory_order_relaxed);
  });
  while (!done.load(std::memory_order_relaxed)) CountCall();
  caller.join();
  std::printf("%d calls\n", calls);
  server->Shutdown();
}
