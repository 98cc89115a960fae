// Models, memory, health, draining and reflection, with a fake engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "tests/server/fake_engine.h"
#include "tests/server/test_server.h"

namespace kvpareto::server {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using std::chrono::milliseconds;

class ServicesTest : public ::testing::Test {
 protected:
  ServicesTest() {
    Models::Map engines;
    for (const char* name : {"a", "b"}) {
      auto engine = std::make_unique<FakeEngine>();
      fakes_[name] = engine.get();
      engines.emplace(name, std::move(engine));
    }
    ServerConfig config = LoopbackConfig();
    config.limits.step_stall = milliseconds(1000);
    server_ = std::make_unique<TestServer>(std::move(engines), config);
  }
  // The status of a service, or of the error.
  std::string HealthOf(const std::string& service) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    HealthCheckResponse response;
    request.set_service(service);
    const grpc::Status status = server_->health()->Check(&context, request, &response);
    if (!status.ok()) return CodeName(static_cast<absl::StatusCode>(status.error_code()));
    return HealthCheckResponse::ServingStatus_Name(response.status());
  }
  std::string WaitForHealth(const std::string& service, const std::string& wanted) {
    for (int i = 0; i < 100 && HealthOf(service) != wanted; ++i) {
      std::this_thread::sleep_for(milliseconds(50));
    }
    return HealthOf(service);
  }

  std::map<std::string, FakeEngine*> fakes_;
  std::unique_ptr<TestServer> server_;
};

constexpr char kInference[] = "kvpareto.v1.InferenceService";

TEST_F(ServicesTest, ListsModels) {
  grpc::ClientContext context;
  v1::ListModelsResponse response;
  ASSERT_TRUE(server_->models()->ListModels(&context, {}, &response).ok());
  ASSERT_EQ(response.models_size(), 2);
  EXPECT_EQ(response.models(0).name(), "a");
  EXPECT_TRUE(response.models(0).is_default());
  EXPECT_EQ(response.models(0).state(), v1::MODEL_STATE_READY);
  EXPECT_EQ(response.models(0).fingerprint(), "f00d");
  EXPECT_EQ(response.models(0).bf16_bytes_per_token(), 2u * 1 * 64 * 2 * 2);
  EXPECT_EQ(response.models(0).table_rows(), 1);
  EXPECT_FALSE(response.models(1).is_default());
}

TEST_F(ServicesTest, GivesTables) {
  grpc::ClientContext context;
  v1::GetParetoTableRequest request;
  v1::GetParetoTableResponse response;
  request.set_model("b");
  ASSERT_TRUE(server_->models()->GetParetoTable(&context, request, &response).ok());
  EXPECT_EQ(response.model(), "b");
  ASSERT_EQ(response.table().rows_size(), 1);
  EXPECT_EQ(response.table().rows(0).name(), "bf16");
  grpc::ClientContext second;
  request.set_model("c");
  EXPECT_EQ(Verdict(server_->models()->GetParetoTable(&second, request, &response)),
            "NOT_FOUND MODEL_NOT_FOUND");
}

TEST_F(ServicesTest, CountsTokensAndPlans) {
  grpc::ClientContext context;
  v1::CountTokensRequest count;
  v1::CountTokensResponse counted;
  count.mutable_prompt()->set_text("four");
  count.set_token_ids(true);
  ASSERT_TRUE(server_->inference()->CountTokens(&context, count, &counted).ok());
  EXPECT_EQ(counted.tokens(), 4);
  EXPECT_EQ(counted.ids_size(), 4);
  EXPECT_EQ(counted.context_tokens(), 1000);

  grpc::ClientContext second;
  v1::PlanRequest plan;
  v1::PlanResponse planned;
  *plan.mutable_request() = TextRequest("four", 9);
  plan.mutable_request()->set_model("b");
  ASSERT_TRUE(server_->inference()->Plan(&second, plan, &planned).ok());
  EXPECT_EQ(planned.model(), "b");
  EXPECT_EQ(planned.prompt_tokens(), 4);
  EXPECT_EQ(planned.max_tokens(), 9);
  EXPECT_EQ(planned.kv().predicted_peak_bytes(), 1007u);

  grpc::ClientContext third;
  EXPECT_EQ(Verdict(server_->inference()->Plan(&third, {}, &planned)),
            "INVALID_ARGUMENT EMPTY_PROMPT");
}

TEST_F(ServicesTest, GetMemoryOfOneOrAll) {
  EngineStats stats;
  stats.capacity_bytes = 100;
  stats.arena_allocated_bytes = 40;
  stats.kv[{"default", "bf16"}] = {.allocated_bytes = 40, .live_bytes = 30, .bf16_bytes = 30};
  fakes_["b"]->set_stats(stats);
  grpc::ClientContext context;
  v1::GetMemoryRequest request;
  v1::GetMemoryResponse response;
  ASSERT_TRUE(server_->memory()->GetMemory(&context, request, &response).ok());
  ASSERT_EQ(response.memory().models_size(), 2);
  EXPECT_EQ(response.memory().models(1).allocated_bytes(), 40u);
  EXPECT_GT(response.memory().process_resident_bytes(), 1'000'000u);
  grpc::ClientContext second;
  request.set_model("b");
  ASSERT_TRUE(server_->memory()->GetMemory(&second, request, &response).ok());
  ASSERT_EQ(response.memory().models_size(), 1);
  EXPECT_EQ(response.memory().models(0).model(), "b");
  grpc::ClientContext third;
  request.set_model("zzz");
  EXPECT_EQ(Verdict(server_->memory()->GetMemory(&third, request, &response)),
            "NOT_FOUND MODEL_NOT_FOUND");
}

TEST_F(ServicesTest, WatchesMemoryUntilCancelled) {
  grpc::ClientContext context;
  v1::WatchMemoryRequest request;
  request.set_model("a");
  request.mutable_interval()->set_nanos(100'000'000);
  const auto stub = server_->memory();
  const auto reader = stub->WatchMemory(&context, request);
  const auto start = std::chrono::steady_clock::now();
  v1::WatchMemoryResponse response;
  for (uint64_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.memory().models(0).capacity_bytes(), i);
    EngineStats stats;
    stats.capacity_bytes = i + 1;
    fakes_["a"]->set_stats(stats);
  }
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(250));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServicesTest, WatchRefusesBadIntervalsAndModels) {
  const auto verdict = [&](const v1::WatchMemoryRequest& request) {
    grpc::ClientContext context;
    const auto stub = server_->memory();
    return Verdict(stub->WatchMemory(&context, request)->Finish());
  };
  v1::WatchMemoryRequest request;
  request.mutable_interval()->set_nanos(1);
  EXPECT_EQ(verdict(request), "INVALID_ARGUMENT OPTION_INVALID");
  request.mutable_interval()->set_seconds(int64_t{1} << 62);
  EXPECT_EQ(verdict(request), "INVALID_ARGUMENT OPTION_INVALID");
  request.mutable_interval()->set_seconds(-5);
  EXPECT_EQ(verdict(request), "INVALID_ARGUMENT OPTION_INVALID");
  request.Clear();
  request.set_model("zzz");
  EXPECT_EQ(verdict(request), "NOT_FOUND MODEL_NOT_FOUND");
}

TEST_F(ServicesTest, ManyWatchesComeAndGo) {
  v1::WatchMemoryRequest request;
  request.mutable_interval()->set_nanos(100'000'000);
  for (int round = 0; round < 10; ++round) {
    std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
    std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchMemoryResponse>>> readers;
    const auto stub = server_->memory();
    for (int i = 0; i < 20; ++i) {
      contexts.push_back(std::make_unique<grpc::ClientContext>());
      readers.push_back(stub->WatchMemory(contexts.back().get(), request));
    }
    v1::WatchMemoryResponse response;
    for (auto& reader : readers) ASSERT_TRUE(reader->Read(&response));
    for (auto& context : contexts) context->TryCancel();
    for (auto& reader : readers) reader->Finish();
  }
}

TEST_F(ServicesTest, HealthKnowsItsServices) {
  EXPECT_EQ(HealthOf(""), "SERVING");
  EXPECT_EQ(HealthOf(kInference), "SERVING");
  EXPECT_EQ(HealthOf("kvpareto.v1.MemoryService"), "SERVING");
  EXPECT_EQ(HealthOf("no.such.Service"), "NOT_FOUND");
}

TEST_F(ServicesTest, AStuckEngineIsNotHealthy) {
  EngineStats stats;
  stats.stalled_seconds = 5;
  fakes_["b"]->set_stats(stats);
  EXPECT_EQ(WaitForHealth("", "NOT_SERVING"), "NOT_SERVING");
  EXPECT_EQ(HealthOf(kInference), "NOT_SERVING");
  fakes_["b"]->set_stats({});
  EXPECT_EQ(WaitForHealth("", "SERVING"), "SERVING");
  EXPECT_EQ(HealthOf(kInference), "SERVING");
}

TEST_F(ServicesTest, DrainWaitsForRunningRequestsAndTellsWatchers) {
  grpc::ClientContext watch_context;
  HealthCheckRequest watch_request;
  watch_request.set_service(kInference);
  const auto health = server_->health();
  const auto watch = health->Watch(&watch_context, watch_request);
  HealthCheckResponse health_response;
  ASSERT_TRUE(watch->Read(&health_response));
  EXPECT_EQ(health_response.status(), HealthCheckResponse::SERVING);

  auto running =
      std::async(std::launch::async, [&] { return Generate(*server_, TextRequest("x")); });
  fakes_["a"]->Emit(1, "begun");
  v1::DrainResponse drained;
  auto drain = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    v1::DrainRequest request;
    request.mutable_timeout()->set_seconds(60);
    return server_->admin()->Drain(&context, request, &drained);
  });
  ASSERT_TRUE(watch->Read(&health_response));
  EXPECT_EQ(health_response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(HealthOf(""), "SERVING");  // alive, not ready

  while (!fakes_["a"]->Stats().draining) std::this_thread::yield();
  grpc::ClientContext refused_context;
  const auto stub = server_->inference();
  const Generated refused = ReadAll(stub->Generate(&refused_context, TextRequest("late")).get());
  EXPECT_EQ(Verdict(refused.status), "UNAVAILABLE DRAINING");
  EXPECT_TRUE(refused_context.GetServerTrailingMetadata().contains("grpc-retry-pushback-ms"));

  EXPECT_EQ(drain.wait_for(milliseconds(100)), std::future_status::timeout);
  fakes_["a"]->End(1, absl::OkStatus());
  EXPECT_TRUE(running.get().status.ok());
  EXPECT_TRUE(drain.get().ok());
  EXPECT_EQ(drained.cancelled_requests(), 0);
  watch_context.TryCancel();
}

TEST_F(ServicesTest, DrainCancelsWhatIsLeft) {
  auto running =
      std::async(std::launch::async, [&] { return Generate(*server_, TextRequest("x")); });
  fakes_["a"]->Emit(1, "begun");
  grpc::ClientContext context;
  v1::DrainRequest request;
  v1::DrainResponse response;
  request.mutable_timeout()->set_nanos(50'000'000);
  ASSERT_TRUE(server_->admin()->Drain(&context, request, &response).ok());
  EXPECT_EQ(response.cancelled_requests(), 1);
  EXPECT_EQ(Verdict(running.get().status), "UNAVAILABLE DRAINING");
  grpc::ClientContext second;
  request.mutable_timeout()->set_seconds(-1);
  EXPECT_EQ(Verdict(server_->admin()->Drain(&second, request, &response)),
            "INVALID_ARGUMENT OPTION_INVALID");
}

TEST_F(ServicesTest, ShutdownEndsWatchesAndRunningRequests) {
  grpc::ClientContext context;
  const auto stub = server_->memory();
  const auto watch = stub->WatchMemory(&context, {});
  v1::WatchMemoryResponse response;
  ASSERT_TRUE(watch->Read(&response));
  auto running =
      std::async(std::launch::async, [&] { return Generate(*server_, TextRequest("x")); });
  fakes_["a"]->Emit(1, "begun");
  server_->server().DrainAndShutdown(std::chrono::steady_clock::now() + milliseconds(50));
  EXPECT_EQ(Verdict(running.get().status), "UNAVAILABLE DRAINING");
  while (watch->Read(&response)) {
  }
  EXPECT_EQ(Verdict(watch->Finish()), "UNAVAILABLE DRAINING");
}

TEST_F(ServicesTest, TwoServersCannotShareAPort) {
  ServerConfig config = LoopbackConfig();
  config.grpc_address = server_->address();
  Models::Map engines;
  engines.emplace("a", std::make_unique<FakeEngine>());
  const auto second = Server::Start(config, std::make_unique<Models>(std::move(engines), "a"));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(GetErrorInfo(second.status())->reason, "LISTEN_FAILED");
}

}  // namespace
}  // namespace kvpareto::server
