// The request matrix through every API of the server.
#include <dirent.h>

#include "tests/reliability/clients.h"
#include "tests/reliability/matrix.h"
#include "tests/server/test_server.h"

namespace kvpareto::reliability {
namespace {

enum class Api { kGenerate, kModelInfer, kModelStreamInfer, kHttp };

std::string NameOf(Api api) {
  static const char* const names[] = {"Generate", "ModelInfer", "ModelStreamInfer", "Http"};
  return names[static_cast<int>(api)];
}

class ServerRig final : public Rig {
 public:
  explicit ServerRig(Api api) : api_(api) {
    server::ServerConfig config = server::LoopbackConfig();
    config.http_address = "127.0.0.1:0";
    config.limits.stream_buffer_bytes = 8192;
    server::Models::Map engines;
    engines.emplace("tiny", MakeEngine());
    server_ = std::make_unique<server::TestServer>(std::move(engines), config);
  }

  std::unique_ptr<Call> Start(const CallSpec& spec) override {
    const int grpc_port = server_->server().grpc_port();
    switch (api_) {
      case Api::kGenerate:
        return GenerateCall(grpc_port, spec);
      case Api::kModelInfer:
        return ModelInferCall(grpc_port, spec);
      case Api::kModelStreamInfer:
        return ModelStreamInferCall(grpc_port, spec);
      case Api::kHttp:
        return HttpCall(server_->server().http_port(), spec);
    }
    return nullptr;
  }
  void Drain() override {
    grpc::ClientContext context;
    v1::DrainRequest request;
    v1::DrainResponse response;
    request.mutable_timeout();  // zero
    EXPECT_TRUE(server_->admin()->Drain(&context, request, &response).ok());
  }
  // `code` if requests have been counted under it; the first of every case is OK.
  std::string CountedCode(const std::string& code) const override {
    for (const auto& family : server_->server().metrics().Collect()) {
      if (family.name != "kvpareto_requests_total") continue;
      for (const auto& metric : family.metric) {
        for (const auto& label : metric.label) {
          if (label.name == "code" && label.value == code && metric.counter.value > 0) return code;
        }
      }
    }
    return "";
  }
  bool knows_its_clients() const override { return true; }
  bool streams() const override { return api_ != Api::kModelInfer; }
  bool has_deadlines() const override { return api_ != Api::kHttp; }

 private:
  const Api api_;
  std::unique_ptr<server::TestServer> server_;
};

int OpenDescriptors() {
  int count = 0;
  DIR* const directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

class ServerMatrix : public ::testing::TestWithParam<Api> {};

TEST_P(ServerMatrix, EveryEventAtEveryStage) {
  int descriptors = 0;
  for (const Event event : kEvents) {
    for (const Stage stage : kStages) {
      SCOPED_TRACE(NameOf(event) + " while " + NameOf(stage));
      ServerRig rig(GetParam());
      RunCase(rig, event, stage);
    }
    // gRPC keeps a few once it has been used.
    if (event == kEvents[0]) descriptors = OpenDescriptors();
  }
  EXPECT_LE(OpenDescriptors(), descriptors + 4);
}

INSTANTIATE_TEST_SUITE_P(Apis, ServerMatrix,
                         ::testing::Values(Api::kGenerate, Api::kModelInfer, Api::kModelStreamInfer,
                                           Api::kHttp),
                         [](const auto& info) { return NameOf(info.param); });

}  // namespace
}  // namespace kvpareto::reliability
