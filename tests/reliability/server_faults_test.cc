// What a server makes of the faults of its engine.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/reliability/clients.h"
#include "tests/server/test_server.h"

namespace kvpareto::reliability {
namespace {

using std::chrono::milliseconds;

class ServerFaultsTest : public ::testing::Test, public Rig {
 protected:
  void SetUp() override {
    server::ServerConfig config = server::LoopbackConfig();
    config.limits.step_stall = milliseconds(100);
    server::Models::Map engines;
    engines.emplace("tiny", MakeEngine());
    auto started =
        server::Server::Start(config, std::make_unique<server::Models>(std::move(engines), "tiny"),
                              [this] { failed_ = true; });
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->grpc_port()),
                                   grpc::InsecureChannelCredentials());
  }

  std::unique_ptr<Call> Start(const CallSpec& spec) override {
    return GenerateCall(server_->grpc_port(), spec);
  }
  void Drain() override {}
  std::string CountedCode(const std::string& code) const override { return code; }
  bool knows_its_clients() const override { return true; }
  bool streams() const override { return true; }
  bool has_deadlines() const override { return true; }

  // Whether both services come to that state.
  bool HealthBecomes(grpc::health::v1::HealthCheckResponse::ServingStatus state) {
    const auto stub = grpc::health::v1::Health::NewStub(channel_);
    for (int i = 0; i < 500; ++i) {
      int there = 0;
      for (const char* name : {"", "kvpareto.v1.InferenceService"}) {
        grpc::ClientContext context;
        grpc::health::v1::HealthCheckRequest request;
        grpc::health::v1::HealthCheckResponse response;
        request.set_service(name);
        EXPECT_TRUE(stub->Check(&context, request, &response).ok());
        there += response.status() == state ? 1 : 0;
      }
      if (there == 2) return true;
      std::this_thread::sleep_for(milliseconds(20));
    }
    return false;
  }
  double Metric(const std::string& name) {
    for (const auto& family : server_->metrics().Collect()) {
      if (family.name == name) return family.metric.at(0).gauge.value;
    }
    ADD_FAILURE() << "no metric " << name;
    return 0;
  }

  std::atomic<bool> failed_ = false;
  std::unique_ptr<server::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

using grpc::health::v1::HealthCheckResponse;

TEST_F(ServerFaultsTest, ALostDeviceTurnsHealthAndAsksForARestart) {
  EXPECT_TRUE(HealthBecomes(HealthCheckResponse::SERVING));
  EXPECT_EQ(Metric("kvpareto_engine_failed"), 0);
  gate().Close();
  const auto call = Start({});
  ASSERT_TRUE(gate().RunTo(2));
  EXPECT_FALSE(failed_);
  gate().Fail(MakeError(absl::StatusCode::kInternal, "DEVICE_LOST", "an illegal address"));
  gate().Open();
  EXPECT_EQ(call->Finish(), "DEVICE_LOST");
  EXPECT_TRUE(HealthBecomes(HealthCheckResponse::NOT_SERVING));
  EXPECT_EQ(Metric("kvpareto_engine_failed"), 1);
  EXPECT_EQ(Start({})->Finish(), "ENGINE_FAILED");
  for (int i = 0; i < 500 && !failed_; ++i) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_TRUE(failed_);
}

TEST_F(ServerFaultsTest, AStuckEngineTurnsHealthUntilItGoesOn) {
  gate().Close();
  const auto call = Start({});
  ASSERT_TRUE(gate().RunTo(2));
  EXPECT_TRUE(HealthBecomes(HealthCheckResponse::NOT_SERVING));
  EXPECT_GE(Metric("kvpareto_engine_stalled_seconds"), 0.1);
  gate().Open();
  EXPECT_EQ(call->Finish(), "OK");
  EXPECT_TRUE(HealthBecomes(HealthCheckResponse::SERVING));
  EXPECT_FALSE(failed_);
}

}  // namespace
}  // namespace kvpareto::reliability
