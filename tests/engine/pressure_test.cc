// A running request is made smaller so that another one need not wait; its stream goes on.
#include <algorithm>
#include <fstream>
#include <thread>

#include "engine/policy/pareto_table.h"
#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

class PlanCollector final : public Collector {
 public:
  void OnPlanChanged(const Plan& plan) override { changed = plan.row_name; }
  std::string changed;  // after Wait
};

class PressureTest : public EngineTest {
 protected:
  // A table of three configs for the tiny model, with the accuracies that tests want.
  void StartWithTable() {
    Start();
    ParetoTable table{.model_name = "tiny", .model_fingerprint = engine_->model().fingerprint};
    table.provenance = {.command = "made up", .date = "2026-01-01", .machine = "none"};
    const std::pair<const char*, double> rows[] = {
        {"k=bf16 v=bf16 sink=16 recent=0 chunk=128", 1.0},
        {"k=int8-channel v=int8-token sink=16 recent=0 chunk=128", 0.99},
        {"k=int4-channel v=int4-token-g32 sink=16 recent=0 chunk=128", 0.9}};
    for (const auto& [config, accuracy] : rows) {
      ParetoRow row{.name = "row" + std::to_string(table.rows.size())};
      row.config = *KvConfig::Parse(config);
      row.accuracy.push_back({.max_context_tokens = kContext,
                              .accuracy = accuracy,
                              .accuracy_low = accuracy,
                              .samples = 1});
      table.rows.push_back(row);
    }
    std::ofstream(dir_.File("table.yaml")) << FormatParetoTable(table);
    options_.table_path = dir_.File("table.yaml");
    Start();
  }

  static Request Asking(int prompt_tokens, int max_tokens, double target, int seed) {
    Request request = Greedy(prompt_tokens, max_tokens, "", seed);
    request.kv.accuracy_target = target;
    return request;
  }

  std::shared_ptr<PlanCollector> SubmitCollected(const Request& request) {
    auto sink = std::make_shared<PlanCollector>();
    auto prepared = engine_->Prepare(request);
    EXPECT_TRUE(prepared.ok()) << prepared.status();
    EXPECT_TRUE(engine_->Submit(*std::move(prepared), sink).ok());
    return sink;
  }

  uint64_t Peak(const Request& request) { return engine_->Prepare(request)->plan.kv_peak_bytes; }
};

TEST_F(PressureTest, ARunningRequestMakesRoomWithinItsTarget) {
  StartWithTable();
  const Request large = Asking(300, 900, 0.95, 1), other = Asking(600, 60, 0.99, 2);
  const uint64_t large_bytes = Peak(large), other_bytes = Peak(other);
  const std::vector<int32_t> unpressed = Run(large);
  options_.kv_capacity_bytes = large_bytes + other_bytes / 8;  // for no plan of the other one
  Start();
  const auto first = SubmitCollected(large);
  first->WaitForDeltas(300);
  const auto second = SubmitCollected(other);
  while (second->tokens().empty()) {
    const EngineStats stats = engine_->Stats();
    uint64_t allocated = 0;
    for (const auto& [key, bytes] : stats.kv) allocated += bytes.allocated_bytes;
    for (const auto& [config, bytes] : stats.cached_bytes) allocated += bytes;
    ASSERT_EQ(allocated, stats.arena_allocated_bytes);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_LT(first->tokens().size(), 900u) << "they run together";
  ASSERT_TRUE(second->Wait().ok());
  ASSERT_TRUE(first->Wait().ok());
  EXPECT_EQ(first->changed, "row1") << "int4 would be below its target";
  EXPECT_EQ(second->changed, "");
  const std::vector<int32_t> tokens = first->tokens();
  EXPECT_EQ(tokens.size(), 900u);
  EXPECT_TRUE(std::equal(tokens.begin(), tokens.begin() + 300, unpressed.begin()));
  EXPECT_GT(first->usage().requantized_bytes, 0u);
  EXPECT_LE(first->usage().measured_peak_bytes, first->usage().predicted_peak_bytes);
  const EngineStats stats = engine_->Stats();
  EXPECT_EQ(stats.requantized_bytes_total.at({"row0", "row1"}), first->usage().requantized_bytes);
  EXPECT_EQ(stats.arena_allocated_bytes, 0u);
}

}  // namespace
}  // namespace kvpareto
