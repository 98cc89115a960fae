// The stream's behaviour, with an engine whose every word the test decides.
#include "server/generate_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "tests/server/fake_engine.h"
#include "tests/server/test_server.h"

namespace kvpareto::server {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GenerateStreamTest : public ::testing::Test {
 protected:
  void Start(const ServerConfig& config = LoopbackConfig()) {
    auto engine = std::make_unique<FakeEngine>();
    engine_ = engine.get();
    Models::Map engines;
    engines.emplace("fake", std::move(engine));
    server_ = std::make_unique<TestServer>(std::move(engines), config);
  }
  void SetUp() override { Start(); }

  std::future<Generated> GenerateAsync(const v1::GenerateRequest& request,
                                       milliseconds timeout = std::chrono::seconds(60)) {
    return std::async(std::launch::async,
                      [this, request, timeout] { return Generate(*server_, request, timeout); });
  }
  // Over all models and classes.
  uint64_t Counted(const std::string& code) {
    double count = 0;
    for (const auto& family : server_->server().metrics().Collect()) {
      if (family.name != "kvpareto_requests_total") continue;
      for (const auto& metric : family.metric) {
        if (metric.label.back().value == code) count += metric.counter.value;
      }
    }
    return static_cast<uint64_t>(count);
  }

  FakeEngine* engine_ = nullptr;
  std::unique_ptr<TestServer> server_;
};

TEST_F(GenerateStreamTest, PlanThenDeltasThenResult) {
  v1::GenerateRequest request = TextRequest("hello", 5);
  request.set_request_id("id-7");
  request.set_service_class("batch");
  auto call = GenerateAsync(request);
  engine_->Emit(1, "a");
  engine_->Emit(1, "b");
  engine_->End(1, absl::OkStatus(), {.prompt_tokens = 5, .generated_tokens = 3, .timings = {}});
  const Generated generated = call.get();
  EXPECT_EQ(Verdict(generated.status), "OK");
  ASSERT_EQ(generated.responses.size(), 5u);
  const v1::GeneratePlan& plan = generated.responses[0].plan();
  EXPECT_EQ(plan.request_id(), "id-7");
  EXPECT_EQ(plan.model(), "fake");
  EXPECT_EQ(plan.prompt_tokens(), 5);
  EXPECT_EQ(plan.max_tokens(), 5);
  EXPECT_EQ(plan.kv().config_name(), "bf16");
  EXPECT_EQ(plan.kv().predicted_peak_bytes(), 1007u);
  EXPECT_EQ(generated.text(), "ab");
  EXPECT_EQ(generated.responses[3].delta().finish_reason(), v1::FINISH_REASON_STOP);
  const v1::GenerateResult& result = generated.responses[4].result();
  EXPECT_THAT(result.finish_reasons(), ElementsAre(v1::FINISH_REASON_STOP));
  EXPECT_EQ(result.usage().generated_tokens(), 3);
  EXPECT_EQ(result.usage().config_name(), "bf16");
  EXPECT_EQ(engine_->request(1).service_class, "batch");
  EXPECT_EQ(Counted("OK"), 1u);
}

TEST_F(GenerateStreamTest, EndWithoutOutputStillHasPlanAndResult) {
  auto call = GenerateAsync(TextRequest("x"));
  engine_->Finish(1, absl::OkStatus());
  const Generated generated = call.get();
  ASSERT_EQ(generated.responses.size(), 2u);
  EXPECT_TRUE(generated.responses[0].has_plan());
  EXPECT_TRUE(generated.responses[1].has_result());
}

TEST_F(GenerateStreamTest, MakesARequestId) {
  std::set<std::string> ids;
  for (uint64_t n : {1, 2}) {
    auto call = GenerateAsync(TextRequest("x"));
    engine_->End(n, absl::OkStatus());
    const Generated generated = call.get();
    ids.insert(generated.responses.at(0).plan().request_id());
    EXPECT_EQ(engine_->request(n).request_id, generated.responses[0].plan().request_id());
  }
  EXPECT_EQ(ids.size(), 2u);
  EXPECT_FALSE(ids.contains(""));
}

TEST_F(GenerateStreamTest, RefusalsNeverReachTheEngine) {
  v1::GenerateRequest request = TextRequest("x");
  request.set_model("nope");
  Generated generated = Generate(*server_, request);
  EXPECT_EQ(Verdict(generated.status), "NOT_FOUND MODEL_NOT_FOUND");
  EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(generated.status).metadata().at("known"), "fake");

  EXPECT_EQ(Verdict(Generate(*server_, {}).status), "INVALID_ARGUMENT EMPTY_PROMPT");
  EXPECT_EQ(Verdict(Generate(*server_, TextRequest("\xff")).status),
            "INVALID_ARGUMENT INVALID_UTF8");
  engine_->set_prepare_error(MakeError(absl::StatusCode::kInvalidArgument, "NO_FEASIBLE_CONFIG",
                                       "no", {{"smallest_budget_bytes", "99"}}));
  generated = Generate(*server_, TextRequest("x"));
  EXPECT_EQ(Verdict(generated.status), "INVALID_ARGUMENT NO_FEASIBLE_CONFIG");
  EXPECT_EQ(
      DetailOf<google::rpc::ErrorInfo>(generated.status).metadata().at("smallest_budget_bytes"),
      "99");
  EXPECT_TRUE(generated.responses.empty());
  engine_->set_prepare_error(absl::OkStatus());

  // Nothing of that was submitted, and the server serves the next one.
  auto call = GenerateAsync(TextRequest("x"));
  engine_->End(1, absl::OkStatus());
  EXPECT_TRUE(call.get().status.ok());
  EXPECT_EQ(Counted("INVALID_ARGUMENT"), 3u);
  EXPECT_EQ(Counted("NOT_FOUND"), 1u);
}

TEST_F(GenerateStreamTest, BytesThatAreNoMessageAreMalformed) {
  grpc::ClientContext context;
  const grpc::Slice slice("\xff\xff\xff");
  const grpc::ByteBuffer garbage(&slice, 1);
  const grpc::internal::RpcMethod method("/kvpareto.v1.InferenceService/Generate",
                                         grpc::internal::RpcMethod::SERVER_STREAMING);
  std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader(
      grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(server_->channel().get(),
                                                                    method, &context, garbage));
  grpc::ByteBuffer response;
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(Verdict(reader->Finish()), "INVALID_ARGUMENT MALFORMED_REQUEST");
}

TEST_F(GenerateStreamTest, FullQueueTellsWhenToRetry) {
  engine_->set_submit_error(MakeError(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "full"));
  grpc::ClientContext context;
  const auto stub = server_->inference();
  const Generated generated = ReadAll(stub->Generate(&context, TextRequest("x")).get());
  EXPECT_EQ(Verdict(generated.status), "RESOURCE_EXHAUSTED QUEUE_FULL");
  EXPECT_TRUE(generated.responses.empty());
  EXPECT_GT(DetailOf<google::rpc::RetryInfo>(generated.status).retry_delay().seconds(), 0);
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto pushback = trailers.find("grpc-retry-pushback-ms");
  ASSERT_NE(pushback, trailers.end());
  EXPECT_EQ(std::string(pushback->second.data(), pushback->second.size()), "1000");
}

// gRPC's own retries happen only when no headers have come: the proof that errors before the first
// token are Trailers-Only.
TEST_F(GenerateStreamTest, ErrorsBeforeTheFirstTokenCanBeRetriedByTheClient) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(R"({"methodConfig": [{
      "name": [{"service": "kvpareto.v1.InferenceService"}],
      "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.01s",
                      "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]})");
  const auto stub = v1::InferenceService::NewStub(server_->NewChannel(arguments));
  auto call = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    return ReadAll(stub->Generate(&context, TextRequest("x")).get());
  });
  // The first attempt ends in the queue, the second one works.
  engine_->End(1, MakeError(absl::StatusCode::kUnavailable, "DRAINING", "not now"));
  engine_->End(2, absl::OkStatus());
  EXPECT_EQ(Verdict(call.get().status), "OK");
}

TEST_F(GenerateStreamTest, ErrorAfterOutputComesAfterIt) {
  auto call = GenerateAsync(TextRequest("x"));
  engine_->Emit(1, "partial");
  engine_->End(1, MakeError(absl::StatusCode::kInternal, "NUMERICAL_ERROR", "NaN logits"),
               {.prompt_tokens = 1, .generated_tokens = 4, .timings = {}});
  const Generated generated = call.get();
  EXPECT_EQ(generated.text(), "partial");
  EXPECT_EQ(Verdict(generated.status), "INTERNAL NUMERICAL_ERROR");
  EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(generated.status).metadata().at("generated_tokens"),
            "4");
}

TEST_F(GenerateStreamTest, CancelReachesTheEngine) {
  grpc::ClientContext context;
  const auto stub = server_->inference();
  const auto reader = stub->Generate(&context, TextRequest("x"));
  engine_->Emit(1, "a");
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  context.TryCancel();
  engine_->WaitForCancel(1);
  engine_->End(1, MakeError(absl::StatusCode::kCancelled, "CANCELLED", "cancelled"));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(Counted("CANCELLED"), 1u);
}

TEST_F(GenerateStreamTest, VanishedClientReachesTheEngine) {
  {
    grpc::ClientContext context;
    const auto channel = server_->NewChannel();
    const auto stub = v1::InferenceService::NewStub(channel);
    const auto reader = stub->Generate(&context, TextRequest("x"));
    engine_->Emit(1, "a");
    // Everything of the client goes away, as when its process dies.
  }
  engine_->WaitForCancel(1);
  engine_->Emit(1, "nobody hears this");
  engine_->End(1, MakeError(absl::StatusCode::kCancelled, "CANCELLED", "cancelled"));
  auto call = GenerateAsync(TextRequest("next"));
  engine_->End(2, absl::OkStatus());
  EXPECT_TRUE(call.get().status.ok());
}

TEST_F(GenerateStreamTest, DeadlineReachesTheEngine) {
  constexpr milliseconds kTimeout{1000};  // the engine must have the request before
  constexpr milliseconds kRounding{10};
  const auto sent = std::chrono::steady_clock::now();
  auto call = GenerateAsync(TextRequest("x"), kTimeout);
  engine_->Emit(1, "a");
  const auto deadline = engine_->request(1).deadline;
  ASSERT_TRUE(deadline.has_value());
  EXPECT_GT(*deadline, sent + kTimeout - kRounding);
  EXPECT_LT(*deadline, std::chrono::steady_clock::now() + kTimeout + kRounding);
  engine_->WaitForCancel(1);  // gRPC cancels calls whose deadline has passed
  engine_->End(1, MakeError(absl::StatusCode::kCancelled, "CANCELLED", "cancelled"));
  const Generated generated = call.get();
  EXPECT_EQ(generated.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(Counted("DEADLINE_EXCEEDED"), 1u);
}

TEST_F(GenerateStreamTest, NoDeadlineIsNoDeadline) {
  grpc::ClientContext context;
  const auto stub = server_->inference();
  const auto reader = stub->Generate(&context, TextRequest("x"));
  engine_->End(1, absl::OkStatus());
  EXPECT_TRUE(ReadAll(reader.get()).status.ok());
  EXPECT_FALSE(engine_->request(1).deadline.has_value());
}

TEST_F(GenerateStreamTest, SlowReaderLosesTheRequest) {
  ServerConfig config = LoopbackConfig();
  config.limits.stream_buffer_bytes = 16 << 10;
  Start(config);
  grpc::ClientContext context;
  const auto stub = server_->inference();
  const auto reader = stub->Generate(&context, TextRequest("x"));
  // Nobody reads. The transport takes what its windows allow, then our queue fills up.
  const std::string text(4 << 10, 'x');
  constexpr int kMaxMessages = 16 << 10;  // 64 MiB: far more than any window
  int sent = 0;
  while (!engine_->cancelled(1) && sent < kMaxMessages) {
    engine_->Emit(1, text);
    ++sent;
  }
  ASSERT_TRUE(engine_->cancelled(1)) << "everything was buffered";
  for (int i = 0; i < 10; ++i) engine_->Emit(1, text);  // what the engine still had under way
  engine_->End(1, MakeError(absl::StatusCode::kCancelled, "CANCELLED", "cancelled"),
               {.prompt_tokens = 1, .generated_tokens = sent, .timings = {}});
  EXPECT_EQ(Counted("RESOURCE_EXHAUSTED"), 1u);
  // The reader that comes back gets what had left, then the reason.
  const Generated generated = ReadAll(reader.get());
  EXPECT_EQ(Verdict(generated.status), "RESOURCE_EXHAUSTED SLOW_READER");
  EXPECT_LT(generated.responses.size(), static_cast<size_t>(sent) + 1);
  const auto info = DetailOf<google::rpc::ErrorInfo>(generated.status);
  EXPECT_EQ(info.metadata().at("stream_buffer_bytes"), "16384");
  EXPECT_EQ(info.metadata().at("generated_tokens"), std::to_string(sent));
}

TEST_F(GenerateStreamTest, SlowReaderThatNeverComesBackHoldsNothingUp) {
  ServerConfig config = LoopbackConfig();
  config.limits.stream_buffer_bytes = 1024;
  Start(config);
  grpc::ClientContext context;
  const auto stub = server_->inference();
  const auto reader = stub->Generate(&context, TextRequest("x"));
  const std::string text(4 << 10, 'x');
  for (int i = 0; !engine_->cancelled(1) && i < (16 << 10); ++i) engine_->Emit(1, text);
  ASSERT_TRUE(engine_->cancelled(1));
  engine_->End(1, MakeError(absl::StatusCode::kCancelled, "CANCELLED", "cancelled"));
  auto call = GenerateAsync(TextRequest("next"));
  engine_->End(2, absl::OkStatus());
  EXPECT_TRUE(call.get().status.ok());
  server_.reset();  // ends although the first call is still open
}

TEST_F(GenerateStreamTest, OneMessageMayExceedTheBuffer) {
  ServerConfig config = LoopbackConfig();
  config.limits.stream_buffer_bytes = 1024;
  Start(config);
  auto call = GenerateAsync(TextRequest("x"));
  const std::string text(3000, 'y');
  // Each one waits for the reader, as a model's tokens do.
  engine_->WaitForSubmit(1);
  engine_->Emit(1, "first");
  std::this_thread::sleep_for(milliseconds(200));
  engine_->Emit(1, text);
  std::this_thread::sleep_for(milliseconds(200));
  engine_->End(1, absl::OkStatus());
  const Generated generated = call.get();
  EXPECT_EQ(Verdict(generated.status), "OK");
  EXPECT_EQ(generated.text(), "first" + text);
}

TEST_F(GenerateStreamTest, ManyStreamsAtOnce) {
  constexpr int kStreams = 32;
  std::vector<std::future<Generated>> calls;
  for (int i = 0; i < kStreams; ++i) {
    v1::GenerateRequest request = TextRequest("x");
    request.set_request_id("r" + std::to_string(i));
    calls.push_back(GenerateAsync(request));
  }
  for (uint64_t n = 1; n <= kStreams; ++n) {
    engine_->WaitForSubmit(n);
    for (int i = 0; i < 50; ++i) engine_->Emit(n, engine_->request(n).request_id + ".");
    engine_->End(n, absl::OkStatus());
  }
  for (int i = 0; i < kStreams; ++i) {
    const Generated generated = calls[i].get();
    ASSERT_TRUE(generated.status.ok());
    std::string expected;
    for (int k = 0; k < 50; ++k) expected += "r" + std::to_string(i) + ".";
    EXPECT_EQ(generated.text(), expected);
  }
  EXPECT_EQ(Counted("OK"), static_cast<uint64_t>(kStreams));
}

}  // namespace
}  // namespace kvpareto::server
