// Requests through gRPC, a real engine and back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "tests/server/real_server.h"

namespace kvpareto::server {
namespace {

using ::testing::ElementsAre;

class EndToEndTest : public RealServerTest {};

TEST_F(EndToEndTest, PlanFirstUsageLast) {
  const Generated generated = Generate(*server_, TokensRequest(300, 40));
  ASSERT_EQ(Verdict(generated.status), "OK");
  const auto& responses = generated.responses;
  ASSERT_GE(responses.size(), 3u);
  EXPECT_TRUE(responses.front().has_plan());
  EXPECT_TRUE(responses.back().has_result());
  for (size_t i = 1; i + 1 < responses.size(); ++i) EXPECT_TRUE(responses[i].has_delta());

  const v1::GeneratePlan& plan = responses.front().plan();
  EXPECT_EQ(plan.prompt_tokens(), 300);
  EXPECT_EQ(plan.max_tokens(), 40);
  EXPECT_EQ(plan.kv().config_name(), "bf16");
  EXPECT_EQ(plan.kv().reason(), v1::PLAN_REASON_DEFAULT);
  EXPECT_EQ(plan.kv().accuracy(), 1.0);
  EXPECT_FALSE(plan.kv().explanation().empty());
  EXPECT_EQ(plan.kv().predicted_peak_bytes(),
            plan.kv().kv_peak_bytes() + plan.kv().workspace_bytes());

  const v1::GenerateResult& result = responses.back().result();
  EXPECT_THAT(result.finish_reasons(), ElementsAre(v1::FINISH_REASON_LENGTH));
  const v1::Usage& usage = result.usage();
  EXPECT_EQ(usage.prompt_tokens(), 300);
  EXPECT_EQ(usage.generated_tokens(), 40);
  EXPECT_EQ(TokensOf(generated).size(), 40u);
  EXPECT_EQ(usage.config_name(), "bf16");
  EXPECT_EQ(usage.predicted_peak_bytes(), plan.kv().predicted_peak_bytes());
  // Never more than predicted, and within 1 % + one block of it (K and V, 2 layers, bf16).
  const uint64_t block_bytes = uint64_t{2} * 2 * 2 * 64 * 64 * 2;
  EXPECT_LE(usage.measured_peak_bytes(), usage.predicted_peak_bytes());
  EXPECT_GE(usage.measured_peak_bytes() + block_bytes + usage.predicted_peak_bytes() / 100,
            usage.predicted_peak_bytes());
  EXPECT_GT(usage.timings().total().seconds() * 1e9 + usage.timings().total().nanos(), 0);
  EXPECT_TRUE(MemoryIsFreed());
}

TEST_F(EndToEndTest, BudgetAndAccuracyChooseTheConfig) {
  v1::GenerateRequest request = TokensRequest(1000, 10);
  request.mutable_kv()->set_accuracy_target(0.95);
  request.mutable_kv()->set_objective(v1::OBJECTIVE_MEMORY);
  Generated generated = Generate(*server_, request);
  ASSERT_EQ(Verdict(generated.status), "OK");
  EXPECT_EQ(generated.responses[0].plan().kv().config_name(), "int8");

  // What Plan says is what Generate does.
  grpc::ClientContext context;
  v1::PlanRequest plan_request;
  v1::PlanResponse plan;
  *plan_request.mutable_request() = request;
  ASSERT_TRUE(server_->inference()->Plan(&context, plan_request, &plan).ok());
  EXPECT_EQ(plan.kv().SerializeAsString(), generated.responses[0].plan().kv().SerializeAsString());

  // A byte less than int8 needs leaves int4, which the target forbids.
  request.mutable_kv()->set_memory_budget_bytes(plan.kv().predicted_peak_bytes() - 1);
  generated = Generate(*server_, request);
  EXPECT_EQ(Verdict(generated.status), "INVALID_ARGUMENT NO_FEASIBLE_CONFIG");
  EXPECT_TRUE(generated.responses.empty());
  const auto info = DetailOf<google::rpc::ErrorInfo>(generated.status);
  EXPECT_EQ(info.metadata().at("smallest_budget_bytes"),
            std::to_string(plan.kv().predicted_peak_bytes()));
  EXPECT_NEAR(std::stod(info.metadata().at("best_accuracy")), 0.9, 1e-6);

  // The advice works.
  request.mutable_kv()->set_memory_budget_bytes(
      std::stoull(info.metadata().at("smallest_budget_bytes")));
  EXPECT_EQ(Verdict(Generate(*server_, request).status), "OK");
  request.mutable_kv()->set_memory_budget_bytes(plan.kv().predicted_peak_bytes() - 1);
  request.mutable_kv()->set_accuracy_target(std::stod(info.metadata().at("best_accuracy")));
  generated = Generate(*server_, request);
  ASSERT_EQ(Verdict(generated.status), "OK");
  EXPECT_EQ(generated.responses[0].plan().kv().config_name(), "int4");
}

TEST_F(EndToEndTest, SequencesLogprobsAndText) {
  v1::GenerateRequest request = TokensRequest(50, 12);
  request.mutable_sampling()->set_temperature(1.0f);
  request.mutable_sampling()->set_seed(7);
  request.mutable_response()->set_sequences(3);
  request.mutable_response()->set_top_logprobs(4);
  const Generated generated = Generate(*server_, request);
  ASSERT_EQ(Verdict(generated.status), "OK");
  EXPECT_EQ(generated.responses.back().result().finish_reasons_size(), 3);
  for (int sequence = 0; sequence < 3; ++sequence) {
    EXPECT_EQ(TokensOf(generated, sequence).size(), 12u);
  }
  EXPECT_NE(TokensOf(generated, 0), TokensOf(generated, 1));
  for (const auto& response : generated.responses) {
    for (const auto& token : response.delta().tokens()) {
      EXPECT_LE(token.logprob(), 0.0f);
      ASSERT_EQ(token.top_size(), 4);
      EXPECT_GE(token.top(0).logprob(), token.top(3).logprob());
    }
  }
}

TEST_F(EndToEndTest, ChatAndCountAgree) {
  v1::GenerateRequest request;
  auto* message = request.mutable_prompt()->mutable_messages()->add_messages();
  message->set_role("user");
  message->set_content("hello");
  request.mutable_stopping()->set_max_tokens(3);
  const Generated generated = Generate(*server_, request);
  ASSERT_EQ(Verdict(generated.status), "OK");
  grpc::ClientContext context;
  v1::CountTokensRequest count;
  v1::CountTokensResponse counted;
  *count.mutable_prompt() = request.prompt();
  ASSERT_TRUE(server_->inference()->CountTokens(&context, count, &counted).ok());
  EXPECT_EQ(counted.tokens(), generated.responses[0].plan().prompt_tokens());
  EXPECT_EQ(counted.context_tokens(), kContext);
}

TEST_F(EndToEndTest, StreamsOfSeveralConfigsEqualThemselvesAlone) {
  const char* const configs[] = {"bf16", "int8", "int4",
                                 "k=int8-block v=int4-token-g64 sink=4 recent=64 chunk=64"};
  std::vector<v1::GenerateRequest> requests;
  for (int i = 0; i < 8; ++i) {
    requests.push_back(TokensRequest(100 + 60 * i, 40, i));
    requests.back().mutable_kv()->set_pinned_config(configs[i % 4]);
  }
  std::vector<std::vector<int32_t>> alone;
  for (const auto& request : requests) {
    const Generated generated = Generate(*server_, request);
    ASSERT_EQ(Verdict(generated.status), "OK");
    alone.push_back(TokensOf(generated));
  }
  std::vector<std::future<Generated>> together;
  for (const auto& request : requests) {
    together.push_back(
        std::async(std::launch::async, [&, this] { return Generate(*server_, request); }));
  }
  for (int i = 0; i < 8; ++i) EXPECT_EQ(TokensOf(together[i].get()), alone[i]) << i;
}

}  // namespace
}  // namespace kvpareto::server
