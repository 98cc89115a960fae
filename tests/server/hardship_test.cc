// Bad input and bad clients against a real engine: each gets its error, and the server serves the
// next request as if nothing had happened.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <limits>

#include "tests/server/real_server.h"

namespace kvpareto::server {
namespace {

using std::chrono::milliseconds;

class HardshipTest : public RealServerTest {
 protected:
  void Refuses(const v1::GenerateRequest& request, const std::string& verdict) {
    const Generated generated = Generate(*server_, request);
    EXPECT_EQ(Verdict(generated.status), verdict) << generated.status.error_message();
    EXPECT_TRUE(generated.responses.empty());
    EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(generated.status).domain(), "kvpareto");
  }
};

TEST_F(HardshipTest, BadRequests) {
  Refuses({}, "INVALID_ARGUMENT EMPTY_PROMPT");
  Refuses(TextRequest(""), "INVALID_ARGUMENT EMPTY_PROMPT");
  v1::GenerateRequest request;
  request.mutable_prompt()->mutable_messages();
  Refuses(request, "INVALID_ARGUMENT EMPTY_PROMPT");
  request.mutable_prompt()->mutable_token_ids();
  Refuses(request, "INVALID_ARGUMENT EMPTY_PROMPT");
  Refuses(TextRequest("caf\xe9"), "INVALID_ARGUMENT INVALID_UTF8");
  Refuses(TokensRequest(kContext, 1), "INVALID_ARGUMENT PROMPT_TOO_LONG");
  Refuses(TokensRequest(10 * kContext, 1), "INVALID_ARGUMENT PROMPT_TOO_LONG");
  Refuses(TokensRequest(10, -1), "INVALID_ARGUMENT MAX_TOKENS_INVALID");
  request = TextRequest("x");
  request.mutable_stopping()->set_max_tokens(0);
  Refuses(request, "INVALID_ARGUMENT MAX_TOKENS_INVALID");
  Refuses(TokensRequest(10, kContext), "INVALID_ARGUMENT MAX_TOKENS_TOO_LARGE");
  Refuses(TokensRequest(10, std::numeric_limits<int>::max()),
          "INVALID_ARGUMENT MAX_TOKENS_TOO_LARGE");
  request = TokensRequest(3, 3);
  request.mutable_prompt()->mutable_token_ids()->add_ids(std::numeric_limits<int>::max());
  Refuses(request, "INVALID_ARGUMENT TOKEN_OUT_OF_RANGE");
  request = TokensRequest(3, 3);
  request.set_model("gpt");
  Refuses(request, "NOT_FOUND MODEL_NOT_FOUND");
  for (const int n : {0, -1, 9, std::numeric_limits<int>::max()}) {
    request = TokensRequest(3, 3);
    request.mutable_response()->set_sequences(n);
    Refuses(request, "INVALID_ARGUMENT TOO_MANY_SEQUENCES");
  }
  request = TokensRequest(3, 3);
  request.mutable_response()->set_top_logprobs(21);
  Refuses(request, "INVALID_ARGUMENT TOO_MANY_LOGPROBS");
  request = TokensRequest(3, 3);
  request.mutable_sampling()->set_temperature(std::numeric_limits<float>::quiet_NaN());
  Refuses(request, "INVALID_ARGUMENT INVALID_SAMPLING_PARAMS");
  request = TokensRequest(3, 3);
  (*request.mutable_sampling()->mutable_logit_bias())[1 << 30] = 1;
  Refuses(request, "INVALID_ARGUMENT INVALID_SAMPLING_PARAMS");
  request = TokensRequest(3, 3);
  for (int i = 0; i < 17; ++i) request.mutable_stopping()->add_stop_strings("s");
  Refuses(request, "INVALID_ARGUMENT TOO_MANY_STOPS");
  request = TokensRequest(3, 3);
  request.mutable_stopping()->add_stop_strings(std::string(1025, 's'));
  Refuses(request, "INVALID_ARGUMENT STOP_STRING_INVALID");
  request = TokensRequest(3, 3);
  for (int i = 0; i < 70'000; ++i) request.mutable_prompt()->mutable_messages()->add_messages();
  Refuses(request, "INVALID_ARGUMENT TOO_MANY_FIELDS");
  ServesTheNextRequest();
}

TEST_F(HardshipTest, BudgetsNobodyCanMeet) {
  v1::GenerateRequest request = TokensRequest(500, 100);
  request.mutable_kv()->set_memory_budget_bytes(0);
  Refuses(request, "INVALID_ARGUMENT NO_FEASIBLE_CONFIG");
  request.mutable_kv()->set_memory_budget_bytes(1000);
  Refuses(request, "INVALID_ARGUMENT NO_FEASIBLE_CONFIG");
  request = TokensRequest(500, 100);
  request.mutable_kv()->set_pinned_config("k=int5 v=bf16");
  Refuses(request, "INVALID_ARGUMENT KV_CONFIG_INVALID");
  request.mutable_kv()->set_pinned_config("no-such-row");
  Refuses(request, "INVALID_ARGUMENT KV_CONFIG_UNKNOWN");
  ServesTheNextRequest();
}

TEST_F(HardshipTest, OversizedMessage) {
  ServerConfig config = LoopbackConfig();
  config.limits.max_request_bytes = 64 << 10;
  Start(config);
  const Generated generated = Generate(*server_, TextRequest(std::string(100 << 10, 'x')));
  EXPECT_EQ(generated.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  ServesTheNextRequest();
}

TEST_F(HardshipTest, CancelFreesMemory) {
  grpc::ClientContext context;
  const auto stub = server_->inference();
  const auto reader = stub->Generate(&context, TokensRequest(500, 1500));
  v1::GenerateResponse response;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(reader->Read(&response));
  EXPECT_GT(Memory().allocated_bytes(), 0u);
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(MemoryIsFreed());
  EXPECT_EQ(Memory().reserved_bytes(), 0u);
  ServesTheNextRequest();
}

TEST_F(HardshipTest, VanishedClientFreesMemory) {
  {
    grpc::ClientContext context;
    const auto stub = v1::InferenceService::NewStub(server_->NewChannel());
    const auto reader = stub->Generate(&context, TokensRequest(500, 1500));
    v1::GenerateResponse response;
    ASSERT_TRUE(reader->Read(&response));
  }
  EXPECT_TRUE(MemoryIsFreed());
  ServesTheNextRequest();
}

TEST_F(HardshipTest, DeadlineEndsTheRequest) {
  const Generated generated = Generate(*server_, TokensRequest(500, 1500), milliseconds(100));
  EXPECT_EQ(generated.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(MemoryIsFreed());
  ServesTheNextRequest();
}

TEST_F(HardshipTest, SlowReaderLosesTheRequest) {
  ServerConfig config = LoopbackConfig();
  config.limits.stream_buffer_bytes = 4096;
  Start(config);
  v1::GenerateRequest request = TokensRequest(20, 2000);
  request.mutable_response()->set_top_logprobs(20);  // some 400 bytes a token
  // With bandwidth probing, gRPC may grow the client's window beyond the whole answer.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  grpc::ClientContext context;
  const auto stub = v1::InferenceService::NewStub(server_->NewChannel(arguments));
  const auto reader = stub->Generate(&context, request);
  // Reads nothing until the server has given up.
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  bool lost = false;
  while (!lost && std::chrono::steady_clock::now() < give_up) {
    for (const auto& family : server_->server().metrics().Collect()) {
      lost = lost || family.name == "kvpareto_requests_total";
    }
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_TRUE(MemoryIsFreed());
  const Generated generated = ReadAll(reader.get());
  EXPECT_EQ(Verdict(generated.status), "RESOURCE_EXHAUSTED SLOW_READER");
  EXPECT_LT(TokensOf(generated).size(), 2000u);
  ServesTheNextRequest();
}

TEST_F(HardshipTest, DrainLetsRunningRequestsFinishAndRefusesNewOnes) {
  grpc::ClientContext context;
  const auto stub = server_->inference();
  const auto reader = stub->Generate(&context, TokensRequest(300, 800));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  auto drained = std::async(std::launch::async, [&] {
    grpc::ClientContext drain_context;
    v1::DrainRequest request;
    v1::DrainResponse drain_response;
    request.mutable_timeout()->set_seconds(120);
    return server_->admin()->Drain(&drain_context, request, &drain_response);
  });
  while (!engine_->Stats().draining) std::this_thread::sleep_for(milliseconds(1));
  Refuses(TokensRequest(5, 5), "UNAVAILABLE DRAINING");
  const Generated generated = ReadAll(reader.get());
  EXPECT_EQ(Verdict(generated.status), "OK");
  EXPECT_EQ(TokensOf(generated).size(), 800u);
  EXPECT_TRUE(drained.get().ok());
  EXPECT_EQ(Memory().allocated_bytes(), 0u);  // still answers
}

TEST_F(HardshipTest, ShutdownCancelsWhatDoesNotFinish) {
  auto running =
      std::async(std::launch::async, [&] { return Generate(*server_, TokensRequest(300, 1700)); });
  while (engine_->Stats().arena_allocated_bytes == 0) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  server_->server().DrainAndShutdown(std::chrono::steady_clock::now() + milliseconds(20));
  EXPECT_EQ(Verdict(running.get().status), "UNAVAILABLE DRAINING");
}

}  // namespace
}  // namespace kvpareto::server
