#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "server/convert_request.h"
#include "server/convert_response.h"
#include "tests/server/fake_engine.h"

namespace kvpareto::server {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

const std::set<std::string> kClasses = {"default", "batch"};

v1::GenerateRequest Minimal() {
  v1::GenerateRequest proto;
  proto.mutable_prompt()->set_text("hello");
  return proto;
}

// The reason and the field of the refusal, or "OK".
std::string Refusal(const v1::GenerateRequest& proto) {
  const auto request = ToRequest(proto, kClasses);
  if (request.ok()) return "OK";
  EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument);
  const auto info = GetErrorInfo(request.status());
  return info->reason + " " + info->metadata.at("field");
}

TEST(ToRequest, UnsetFieldsKeepTheEnginesDefaults) {
  const auto request = ToRequest(Minimal(), kClasses);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(std::get<std::string>(request->prompt), "hello");
  EXPECT_EQ(request->service_class, "default");
  EXPECT_EQ(request->num_sequences, 1);
  EXPECT_EQ(request->stopping.max_tokens, 0);
  EXPECT_EQ(request->sampling.temperature, SamplingParams().temperature);
  EXPECT_EQ(request->sampling.top_p, SamplingParams().top_p);
  EXPECT_EQ(request->sampling.repetition_penalty, SamplingParams().repetition_penalty);
  EXPECT_EQ(request->sampling.top_logprobs, -1);
  EXPECT_FALSE(request->kv.memory_budget_bytes.has_value());
  EXPECT_FALSE(request->kv.accuracy_target.has_value());
  EXPECT_EQ(request->kv.objective, std::nullopt);
  EXPECT_FALSE(request->deadline.has_value());
  EXPECT_TRUE(request->use_prefix_cache);
  EXPECT_EQ(request->cache_salt, "");
}

TEST(ToRequest, CopiesEveryField) {
  v1::GenerateRequest proto;
  proto.set_request_id("r-1");
  proto.set_service_class("batch");
  for (const char* role : {"system", "user"}) {
    auto* message = proto.mutable_prompt()->mutable_messages()->add_messages();
    message->set_role(role);
    message->set_content(std::string("I am ") + role);
  }
  auto* sampling = proto.mutable_sampling();
  sampling->set_temperature(0.5f);
  sampling->set_top_k(4);
  sampling->set_top_p(0.75f);
  sampling->set_min_p(0.25f);
  sampling->set_repetition_penalty(1.25f);
  sampling->set_presence_penalty(0.125f);
  sampling->set_frequency_penalty(-0.5f);
  sampling->set_seed(99);
  (*sampling->mutable_logit_bias())[7] = -2.0f;
  auto* stopping = proto.mutable_stopping();
  stopping->set_max_tokens(12);
  stopping->add_stop_strings("END");
  stopping->add_stop_token_ids(3);
  stopping->set_ignore_eos(true);
  proto.mutable_response()->set_top_logprobs(0);
  proto.mutable_response()->set_sequences(3);
  proto.mutable_kv()->set_memory_budget_bytes(1 << 20);
  proto.mutable_kv()->set_accuracy_target(0.99);
  proto.mutable_kv()->set_objective(v1::OBJECTIVE_SPEED);
  proto.mutable_kv()->set_pinned_config("bf16");
  proto.mutable_prefix_cache()->set_disabled(true);
  proto.mutable_prefix_cache()->set_salt("tenant");
  const auto request = ToRequest(proto, kClasses);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->request_id, "r-1");
  EXPECT_EQ(request->service_class, "batch");
  EXPECT_FALSE(request->use_prefix_cache);
  EXPECT_EQ(request->cache_salt, "tenant");
  const auto& messages = std::get<std::vector<ChatMessage>>(request->prompt);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[1].role, "user");
  EXPECT_EQ(messages[1].content, "I am user");
  EXPECT_EQ(request->sampling.temperature, 0.5f);
  EXPECT_EQ(request->sampling.top_k, 4);
  EXPECT_EQ(request->sampling.top_p, 0.75f);
  EXPECT_EQ(request->sampling.min_p, 0.25f);
  EXPECT_EQ(request->sampling.repetition_penalty, 1.25f);
  EXPECT_EQ(request->sampling.presence_penalty, 0.125f);
  EXPECT_EQ(request->sampling.frequency_penalty, -0.5f);
  EXPECT_EQ(request->sampling.seed, 99u);
  EXPECT_THAT(request->sampling.logit_bias, ElementsAre(Pair(7, -2.0f)));
  EXPECT_EQ(request->sampling.top_logprobs, 0);
  EXPECT_EQ(request->stopping.max_tokens, 12);
  EXPECT_THAT(request->stopping.stop_strings, ElementsAre("END"));
  EXPECT_THAT(request->stopping.stop_tokens, ElementsAre(3));
  EXPECT_TRUE(request->stopping.ignore_eos);
  EXPECT_EQ(request->num_sequences, 3);
  EXPECT_EQ(request->kv.memory_budget_bytes, uint64_t{1} << 20);
  EXPECT_EQ(request->kv.accuracy_target, 0.99);
  EXPECT_EQ(request->kv.objective, Objective::kSpeed);
  EXPECT_EQ(request->kv.pinned_config, "bf16");
}

TEST(ToRequest, TokenIds) {
  v1::GenerateRequest proto;
  proto.mutable_prompt()->mutable_token_ids()->add_ids(5);
  proto.mutable_prompt()->mutable_token_ids()->add_ids(-1);  // for the engine to refuse
  const auto request = ToRequest(proto, kClasses);
  ASSERT_TRUE(request.ok());
  EXPECT_THAT(std::get<std::vector<int32_t>>(request->prompt), ElementsAre(5, -1));
}

TEST(ToRequest, RefusesWhatTheEngineCannotSee) {
  v1::GenerateRequest proto;
  EXPECT_EQ(Refusal(proto), "EMPTY_PROMPT prompt");
  for (const int max_tokens : {0, -1, std::numeric_limits<int>::min()}) {
    proto = Minimal();
    proto.mutable_stopping()->set_max_tokens(max_tokens);
    EXPECT_EQ(Refusal(proto), "MAX_TOKENS_INVALID stopping.max_tokens");
  }
  for (const double target : {-0.1, 1.1, std::nan(""), HUGE_VAL}) {
    proto = Minimal();
    proto.mutable_kv()->set_accuracy_target(target);
    EXPECT_EQ(Refusal(proto), "ACCURACY_OUT_OF_RANGE kv.accuracy_target");
  }
  proto = Minimal();
  proto.mutable_kv()->set_objective(static_cast<v1::Objective>(77));
  EXPECT_EQ(Refusal(proto), "OPTION_INVALID kv.objective");
  proto = Minimal();
  proto.mutable_response()->set_top_logprobs(-1);
  EXPECT_EQ(Refusal(proto), "OPTION_INVALID response.top_logprobs");
  proto = Minimal();
  proto.set_service_class("gold");
  EXPECT_EQ(Refusal(proto), "SERVICE_CLASS_UNKNOWN service_class");
  for (const std::string& id : {std::string(129, 'x'), std::string("a b"), std::string("a\nb")}) {
    proto = Minimal();
    proto.set_request_id(id);
    EXPECT_EQ(Refusal(proto), "REQUEST_ID_INVALID request_id");
  }
}

TEST(ToDeadline, KeepsTheTimeLeft) {
  EXPECT_FALSE(ToDeadline(gpr_inf_future(GPR_CLOCK_REALTIME)).has_value());
  // A deadline that no count of nanoseconds holds is none.
  gpr_timespec far = gpr_now(GPR_CLOCK_REALTIME);
  far.tv_sec += int64_t{400'000'000'000};
  EXPECT_FALSE(ToDeadline(far).has_value());

  gpr_timespec soon = gpr_now(GPR_CLOCK_REALTIME);
  soon.tv_sec += 100;
  const auto deadline = ToDeadline(soon);
  ASSERT_TRUE(deadline.has_value());
  const double left =
      std::chrono::duration<double>(*deadline - std::chrono::steady_clock::now()).count();
  EXPECT_NEAR(left, 100, 5);
  EXPECT_LT(*ToDeadline(gpr_inf_past(GPR_CLOCK_REALTIME)), std::chrono::steady_clock::now());
}

TEST(ToProto, PlanAndUsage) {
  Plan plan;
  plan.config = KvConfig::Bf16();
  plan.kv_peak_bytes = 10;
  plan.workspace_bytes = 3;
  plan.predicted_peak_bytes = 13;
  plan.bf16_peak_bytes = 20;
  plan.reason = PlanReason::kBudget;
  plan.explanation = "why";
  v1::KvPlan proto = ToProto(plan);
  EXPECT_EQ(proto.config_name(), "pinned");  // no row
  EXPECT_EQ(proto.config(), plan.config.ToString());
  EXPECT_EQ(proto.kv_peak_bytes(), 10u);
  EXPECT_EQ(proto.workspace_bytes(), 3u);
  EXPECT_EQ(proto.predicted_peak_bytes(), 13u);
  EXPECT_EQ(proto.bf16_peak_bytes(), 20u);
  EXPECT_FALSE(proto.has_accuracy());
  EXPECT_EQ(proto.reason(), v1::PLAN_REASON_BUDGET);
  EXPECT_EQ(proto.explanation(), "why");
  plan.row_name = "int8";
  plan.accuracy = 0.5;
  EXPECT_EQ(ToProto(plan).config_name(), "int8");
  EXPECT_EQ(ToProto(plan).accuracy(), 0.5);

  const Usage usage{.prompt_tokens = 1,
                    .cached_prompt_tokens = 128,
                    .generated_tokens = 2,
                    .predicted_peak_bytes = 13,
                    .measured_kv_peak_bytes = 9,
                    .measured_peak_bytes = 12,
                    .requantized_bytes = 14,
                    .timings = {.queue_seconds = 0.25,
                                .prefill_seconds = 1.5,
                                .time_to_first_token_seconds = 1.75,
                                .decode_seconds = 2,
                                .total_seconds = 3.75}};
  const v1::Usage out = ToProto(usage, plan);
  EXPECT_EQ(out.prompt_tokens(), 1);
  EXPECT_EQ(out.cached_prompt_tokens(), 128);
  EXPECT_EQ(out.requantized_bytes(), 14u);
  EXPECT_EQ(out.generated_tokens(), 2);
  EXPECT_EQ(out.predicted_peak_bytes(), 13u);
  EXPECT_EQ(out.measured_kv_peak_bytes(), 9u);
  EXPECT_EQ(out.measured_peak_bytes(), 12u);
  EXPECT_EQ(out.config_name(), "int8");
  EXPECT_EQ(out.timings().prefill().seconds(), 1);
  EXPECT_EQ(out.timings().prefill().nanos(), 500'000'000);
  EXPECT_EQ(out.timings().queue().nanos(), 250'000'000);
  EXPECT_EQ(out.timings().total().seconds(), 3);
}

TEST(ToProto, DeltaShowsOnlyWhatWasAskedFor) {
  const FakeEngine engine;
  const Delta delta{
      .sequence = 1,
      .text = "ab",
      .tokens = {{.token = 'a', .logprob = -0.5f, .top = {{'a', -0.5f}, {0x80, -1.0f}}}},
      .finish_reason = FinishReason::kLength};
  v1::Delta proto = ToProto(delta, {}, engine);
  EXPECT_EQ(proto.sequence(), 1);
  EXPECT_EQ(proto.text(), "ab");
  EXPECT_EQ(proto.tokens_size(), 0);
  EXPECT_EQ(proto.finish_reason(), v1::FINISH_REASON_LENGTH);

  proto = ToProto(delta, {.ids = true, .logprobs = false}, engine);
  ASSERT_EQ(proto.tokens_size(), 1);
  EXPECT_EQ(proto.tokens(0).id(), 'a');
  EXPECT_FALSE(proto.tokens(0).has_logprob());

  proto = ToProto(delta, {.ids = false, .logprobs = true}, engine);
  ASSERT_EQ(proto.tokens_size(), 1);
  EXPECT_EQ(proto.tokens(0).logprob(), -0.5f);
  ASSERT_EQ(proto.tokens(0).top_size(), 2);
  EXPECT_EQ(proto.tokens(0).top(0).text(), "a");
  EXPECT_EQ(proto.tokens(0).top(1).text(), "\xEF\xBF\xBD");  // half a character
}

TEST(ToProto, Table) {
  ParetoTable table{.schema_version = 1,
                    .model_name = "m",
                    .model_fingerprint = "f",
                    .provenance = {"cmd", "2026-01-01", "box", "book", "0.1"},
                    .rows = {}};
  table.rows.push_back({.name = "r",
                        .config = KvConfig::Bf16(),
                        .bytes_per_token = 1.5,
                        .fixed_bytes = 2,
                        .workspace_bytes = 3,
                        .accuracy = {{.max_context_tokens = 4,
                                      .accuracy = 0.9,
                                      .accuracy_low = 0.8,
                                      .kl_mean = 0.1,
                                      .kl_p99 = 0.2,
                                      .perplexity_ratio = 1.1,
                                      .samples = 5}},
                        .speed = {6, 7, 8}});
  const v1::ParetoTable proto = ToProto(table);
  EXPECT_EQ(proto.provenance().command(), "cmd");
  ASSERT_EQ(proto.rows_size(), 1);
  const v1::ParetoRow& row = proto.rows(0);
  EXPECT_EQ(row.name(), "r");
  EXPECT_EQ(row.config(), KvConfig::Bf16().ToString());
  EXPECT_EQ(row.bytes_per_token(), 1.5);
  EXPECT_EQ(row.accuracy(0).accuracy_low(), 0.8);
  EXPECT_EQ(row.accuracy(0).samples(), 5);
  EXPECT_EQ(row.prefill_tokens_per_second(), 6);
  EXPECT_EQ(row.decode_tokens_per_second(), 7);
  EXPECT_EQ(row.speed_context_tokens(), 8);
}

}  // namespace
}  // namespace kvpareto::server
