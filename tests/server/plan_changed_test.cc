// A request whose cache was made smaller while it ran: every API names the config and the accuracy
// that it ended with, and says nothing in between.
#include <gtest/gtest.h>

#include "server/oip/responder.h"
#include "server/openai/answer.h"

namespace kvpareto::server {
namespace {

constexpr double kAccuracyBefore = 0.99, kAccuracyAfter = 0.95;

v1::GenerateResponse Planned() {
  v1::GenerateResponse event;
  v1::KvPlan& kv = *event.mutable_plan()->mutable_kv();
  kv.set_config_name("before");
  kv.set_accuracy(kAccuracyBefore);
  return event;
}

v1::GenerateResponse Changed() {
  v1::GenerateResponse event;
  event.mutable_plan_changed()->set_config_name("after");
  event.mutable_plan_changed()->set_accuracy(kAccuracyAfter);
  return event;
}

v1::GenerateResponse Ended() {
  v1::GenerateResponse event;
  event.mutable_result()->mutable_usage()->set_config_name("after");
  return event;
}

TEST(PlanChangedTest, OpenAiTellsTheLastPlan) {
  for (const bool stream : {false, true}) {
    openai::Answer answer({.stream = stream, .include_usage = true});
    answer.OnEvent(Planned());
    EXPECT_TRUE(answer.OnEvent(Changed()).empty()) << "stream " << stream;
    const auto chunks = answer.OnEvent(Ended());
    ASSERT_EQ(chunks.size(), stream ? 1u : 0u);
    const auto kv = (stream ? chunks[0] : answer.Whole())["kv"];
    EXPECT_EQ(kv["config"], "after");
    EXPECT_EQ(kv["accuracy"], kAccuracyAfter);
  }
}

TEST(PlanChangedTest, OpenInferenceTellsTheLastPlan) {
  oip::Responder responder({}, "id");
  responder.OnEvent(Planned());
  EXPECT_TRUE(responder.OnEvent(Changed()).empty());
  const auto responses = responder.OnEvent(Ended());
  ASSERT_EQ(responses.size(), 1u);
  const auto& parameters = responses[0].parameters();
  EXPECT_EQ(parameters.at("kv_config").string_param(), "after");
  EXPECT_EQ(parameters.at("kv_accuracy").double_param(), kAccuracyAfter);
}

}  // namespace
}  // namespace kvpareto::server
