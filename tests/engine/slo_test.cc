// Memory SLOs on a real engine with a tiny model: overload, guarantees, changes under load.
#include <gmock/gmock.h>

#include <fstream>
#include <thread>

#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

using std::chrono::milliseconds;

class SloTest : public EngineTest {
 protected:
  // With bf16, int8 and int4 rows whose accuracies are given.
  void StartWithTable() {
    Start();
    ParetoTable table{.model_name = "tiny", .model_fingerprint = engine_->model().fingerprint};
    const auto add = [&](const std::string& name, const std::string& config, double accuracy) {
      ParetoRow row{.name = name, .config = *KvConfig::Parse(config)};
      row.accuracy = {
          {.max_context_tokens = kContext, .accuracy = accuracy, .accuracy_low = accuracy}};
      table.rows.push_back(std::move(row));
    };
    add("bf16", "k=bf16 v=bf16 sink=0 recent=0 chunk=256", 1.0);
    add("int8", "k=int8-token v=int8-token sink=16 recent=0 chunk=256", 0.99);
    add("int4", "k=int4-channel v=int4-token-g32 sink=16 recent=0 chunk=256", 0.975);
    add("int2", "k=int2-channel v=int2-token-g32 sink=16 recent=0 chunk=256", 0.9);
    std::ofstream(dir_.File("table.yaml")) << FormatParetoTable(table);
    options_.table_path = dir_.File("table.yaml");
    options_.kv_capacity_bytes = uint64_t{8} << 20;
    Start();
  }

  static Request WithTarget(int prompt_tokens, int max_tokens, double target, int seed = 0) {
    Request request = Greedy(prompt_tokens, max_tokens, "", seed);
    request.kv.accuracy_target = target;
    return request;
  }

  // Submits all and waits for them; the most that were held at once.
  int MostHeld(std::vector<Request> requests) {
    std::vector<std::shared_ptr<Collector>> sinks;
    for (Request& request : requests) sinks.push_back(Submit(std::move(request)));
    int most = 0;
    bool busy = true;
    while (busy) {
      const EngineStats stats = engine_->Stats();
      int held = 0, waiting = 0;
      for (const auto& [name, count] : stats.running) held += count;
      for (const auto& [name, count] : stats.waiting) waiting += count;
      most = std::max(most, held);
      busy = most == 0 || held + waiting > 0;  // at first, nothing may have been published yet
      std::this_thread::sleep_for(milliseconds(1));
    }
    for (const auto& sink : sinks) EXPECT_TRUE(sink->Wait().ok());
    return most;
  }

  uint64_t Reserved() const {
    uint64_t sum = 0;
    for (const auto& [name, bytes] : engine_->Stats().reserved_bytes) sum += bytes;
    return sum;
  }
};

TEST_F(SloTest, OverloadHoldsMoreThanBf16CouldAndLosesNone) {
  StartWithTable();
  ModelSlo slo;
  slo.high_watermark = slo.low_watermark = 0.2;
  engine_->SetSlo(slo);
  std::vector<Request> bf16, free;
  for (int i = 0; i < 40; ++i) {
    bf16.push_back(Greedy(900, 24, "bf16", i));
    free.push_back(WithTarget(900, 24, 0.97, i));
  }
  const int held_bf16 = MostHeld(std::move(bf16));
  const int held_free = MostHeld(std::move(free));
  EXPECT_GE(held_free, 2.5 * held_bf16);
  for (const auto& [key, count] : engine_->Stats().plans_total) {
    EXPECT_NE(key.config, "int2") << "is below the target";
  }
}

TEST_F(SloTest, AGuaranteedClassIsAdmittedAtOnce) {
  StartWithTable();
  ModelSlo slo;
  slo.classes.push_back({.name = "gold", .guaranteed_share = 0.25});
  engine_->SetSlo(slo);
  std::vector<std::shared_ptr<Collector>> burst;
  for (int i = 0; i < 12; ++i) burst.push_back(Submit(Greedy(900, 400, "bf16", i)));
  while (engine_->Stats().waiting["default"] == 0) std::this_thread::sleep_for(milliseconds(1));
  Request request = Greedy(900, 2, "bf16");
  request.service_class = "gold";
  const auto gold = Submit(std::move(request));
  gold->WaitForDeltas(1);
  EXPECT_GT(engine_->Stats().waiting["default"], 0);
  EXPECT_TRUE(gold->Wait().ok());
  for (const auto& sink : burst) EXPECT_TRUE(sink->Wait().ok());
}

TEST_F(SloTest, HalfTheLimitIsReachedWithoutLosingAnybody) {
  StartWithTable();
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 16; ++i) sinks.push_back(Submit(Greedy(900, 60, "bf16", i)));
  while (engine_->Stats().waiting["default"] == 0) std::this_thread::sleep_for(milliseconds(1));
  ModelSlo half;
  half.kv_limit = 0.5;
  engine_->SetSlo(half);
  uint64_t last = UINT64_MAX;  // since the limit was reached
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (Reserved() > options_.kv_capacity_bytes / 2 &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  for (int i = 0; i < 20; ++i) {
    last = Reserved();
    EXPECT_LE(last, options_.kv_capacity_bytes / 2);
    std::this_thread::sleep_for(milliseconds(5));
  }
  for (const auto& sink : sinks) EXPECT_TRUE(sink->Wait().ok());
  EXPECT_EQ(engine_->Stats().limit_bytes.at("default"), options_.kv_capacity_bytes / 2);
}

TEST_F(SloTest, ClassesThatDoNotWaitAreToldWhenToTryAgain) {
  StartWithTable();
  ModelSlo slo;
  slo.classes.push_back({.name = "eager", .pressure = {PressureAction::kRefuse}});
  slo.classes.push_back({.name = "patient", .max_wait = milliseconds(20)});
  engine_->SetSlo(slo);
  std::vector<std::shared_ptr<Collector>> burst;
  for (int i = 0; i < 12; ++i) burst.push_back(Submit(Greedy(900, 400, "bf16", i)));
  while (engine_->Stats().waiting["default"] == 0) std::this_thread::sleep_for(milliseconds(1));
  for (const auto& [name, reason] :
       {std::pair("eager", "MEMORY_PRESSURE"), std::pair("patient", "QUEUE_TIMEOUT")}) {
    Request request = Greedy(900, 400, "bf16");
    request.service_class = name;
    const absl::Status status = Submit(std::move(request))->Wait();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(Reason(status), reason);
    EXPECT_GE(std::stoi(GetErrorInfo(status)->metadata.at("retry_after_ms")), 100);
  }
  for (const auto& sink : burst) EXPECT_TRUE(sink->Wait().ok());
}

TEST_F(SloTest, RefusesWhatTheClassMayNotHave) {
  StartWithTable();
  ModelSlo slo;
  slo.classes.push_back(
      {.name = "small", .max_request_tokens = 100, .accuracy_floor = 0.98, .where = "slo.yaml:1"});
  ASSERT_TRUE(engine_->CheckSlo(slo).ok());
  engine_->SetSlo(slo);
  ASSERT_EQ(Run(Greedy(10, 2, "bf16")).size(), 2u);  // the engine thread has seen the SLO
  Request request = Greedy(99, 3, "");
  request.service_class = "small";
  EXPECT_EQ(Reason(engine_->Prepare(request).status()), "CLASS_TOKEN_LIMIT");
  request.stopping.max_tokens = 2;
  request.kv.objective = Objective::kMemory;
  const auto prepared = engine_->Prepare(request);
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_GE(prepared->plan.accuracy.value_or(0.0), 0.98);
  request.kv.pinned_config = "int4";
  EXPECT_EQ(Reason(engine_->Prepare(request).status()), "NO_FEASIBLE_CONFIG");
}

}  // namespace
}  // namespace kvpareto
