// The simulator's own parts: traces, traffic, shapes, and that its clock follows its cost model.
#include <gmock/gmock.h>

#include "autotuner/simulator/fleet.h"
#include "autotuner/simulator/slo_check.h"
#include "tests/simulator/random_scenario.h"

namespace kvpareto::sim {
namespace {

using ::testing::HasSubstr;

ReplicaOptions Options() { return RandomScenario(1).Options(); }

TEST(TraceTest, ReadsJsonLinesAndCsv) {
  const auto json = ParseTrace(
      "{\"arrival\": 2, \"prompt_tokens\": 10, \"output_tokens\": 3, \"class\": \"gold\"}\n"
      "{\"arrival\": 1.5, \"prompt_tokens\": 7, \"output_tokens\": 2, \"max_tokens\": 9, "
      "\"accuracy\": 0.97, \"deadline\": 4}\n",
      "t.jsonl");
  ASSERT_TRUE(json.ok()) << json.status();
  ASSERT_EQ(json->size(), 2u);
  EXPECT_EQ((*json)[0].arrival_seconds, 1.5);
  EXPECT_EQ((*json)[0].max_tokens, 9);
  EXPECT_EQ((*json)[0].kv.accuracy_target, 0.97);
  EXPECT_EQ((*json)[0].deadline_seconds, 4.0);
  EXPECT_EQ((*json)[1].service_class, "gold");
  const auto csv = ParseTrace(
      "arrival,prompt_tokens,output_tokens,budget_bytes\n1,10,3,2MiB\n2,5,5,\n", "t.csv");
  ASSERT_TRUE(csv.ok()) << csv.status();
  EXPECT_EQ((*csv)[0].kv.memory_budget_bytes, uint64_t{2} << 20);
  EXPECT_EQ((*csv)[1].kv.memory_budget_bytes, std::nullopt);
}

TEST(TraceTest, RefusesWithFileAndLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"{\"arrival\": 1, \"prompt_tokens\": 10}", "t:1: output_tokens is missing"},
      {"\n{\"arrival\": 1, \"prompt_tokens\": 0, \"output_tokens\": 1}", "t:2: prompt_tokens"},
      {"{\"arrival\": 1, \"prompt_tokens\": 1, \"output_tokens\": 1, \"x\": 1}", "x is not known"},
      {"{\"arrival\": 1, \"prompt_tokens\": 1, \"output_tokens\": 2, \"max_tokens\": 1}",
       "above max_tokens"},
      {"{nonsense", "t:1: "},
      {"arrival,prompt_tokens\n1,2,3\n", "t:2: has 3 columns, not 2"}};
  for (const auto& [text, message] : cases) {
    const auto trace = ParseTrace(text, "t");
    ASSERT_FALSE(trace.ok()) << text;
    EXPECT_THAT(std::string(trace.status().message()), HasSubstr(message));
  }
}

TEST(TrafficTest, GeneratesTheSameForASeedAtTheRate) {
  const auto traffic = ParseTraffic("rate=50 burst=2 prompt=lognormal:100:0.5 output=uniform:1:9");
  ASSERT_TRUE(traffic.ok()) << traffic.status();
  const auto trace = Generate({*traffic}, 100.0, 7);
  EXPECT_NEAR(trace.size(), 10'000.0, 500.0);
  EXPECT_EQ(trace[0].arrival_seconds, Generate({*traffic}, 100.0, 7)[0].arrival_seconds);
  EXPECT_NE(trace[0].arrival_seconds, Generate({*traffic}, 100.0, 8)[0].arrival_seconds);
  double prompts = 0.0;
  for (const TraceRequest& request : trace) prompts += request.prompt_tokens;
  EXPECT_NEAR(prompts / trace.size(), 100.0 * std::exp(0.125), 5.0);  // of a lognormal
  for (const char* bad : {"rate=1 prompt=5", "rate=0 prompt=5 output=5", "rate=1 prompt=5 output=x",
                          "rate=1 rate=1 prompt=5 output=5", "rate=1 prompt=5 output=5 y=1"}) {
    EXPECT_FALSE(ParseTraffic(bad).ok()) << bad;
  }
}

TEST(ShapeTest, KnowsModelsAndWords) {
  const auto llama = ParseShape("llama-3.1-8b");
  ASSERT_TRUE(llama.ok()) << llama.status();
  EXPECT_NEAR(WeightElements(*llama), 8.03e9, 0.01e9);
  EXPECT_THAT(std::string(ParseShape("gpt").status().message()), HasSubstr("smollm2-135m"));
  EXPECT_FALSE(ParseShape("layers=2").ok());
}

TEST(FleetTest, ABalancerHoldsTwiceAsMuchWithTwice) {
  std::vector<TraceRequest> trace;
  for (int i = 0; i < 200; ++i) {
    TraceRequest request{.arrival_seconds = 0.001 * i, .prompt_tokens = 500, .max_tokens = 100};
    request.output_tokens = 100;
    request.kv.pinned_config = "bf16";
    trace.push_back(request);
  }
  ReplicaOptions options = Options();
  options.capacity_bytes = uint64_t{4} << 20;
  options.scheduling = {
      .max_prefill_rows = 512, .max_running_sequences = 64, .max_queued_requests = 1000};
  const auto held = [&](int replicas) {
    Fleet fleet(replicas, options, &ScenarioModel(), &ScenarioTable());
    const FleetResult result = fleet.Run(trace);
    EXPECT_EQ(result.classes.at("default").finished, 200u);
    return result.most_held;
  };
  const size_t one = held(1);
  EXPECT_GT(one, 4u);
  EXPECT_EQ(held(2), 2 * one);
}

// A 3000-token prompt comes while a short one generates: chunk by chunk, so that no gap between two
// tokens is longer than twice a step with one chunk.
TEST(FairnessTest, ALongPrefillDoesNotStallOthers) {
  ReplicaOptions options = Options();
  options.capacity_bytes = uint64_t{16} << 20;
  options.scheduling = {
      .max_prefill_rows = 512, .max_running_sequences = 8, .max_queued_requests = 8};
  options.cost.flops_per_second = 1e8;  // a chunk of 128 tokens: 13 ms and its attention
  TraceRequest stream{.arrival_seconds = 0.0, .prompt_tokens = 10, .max_tokens = 200};
  stream.output_tokens = 200;
  TraceRequest prompt{
      .arrival_seconds = 0.05, .prompt_tokens = 3000, .max_tokens = 1, .service_class = "long"};
  prompt.output_tokens = 1;
  Fleet fleet(1, options, &ScenarioModel(), &ScenarioTable());
  const FleetResult result = fleet.Run({stream, prompt});
  const CostModel& cost = options.cost;
  const double chunk_seconds =
      cost.overhead_seconds + cost.weight_bytes / cost.bytes_per_second +
      128 * (cost.flops_per_token + 3000 * cost.flops_per_attended) / cost.flops_per_second;
  EXPECT_GT(result.classes.at("default").gap_seconds.max(), 0.5 * chunk_seconds);
  EXPECT_LE(result.classes.at("default").gap_seconds.max(), 2.0 * chunk_seconds);
}

// Requests that begin with the same 2,000 tokens, one after the other or together.
class SharedPromptTest : public ::testing::Test {
 protected:
  void Start(uint64_t capacity_bytes) {
    ReplicaOptions options = Options();
    options.capacity_bytes = capacity_bytes;
    options.scheduling = {.max_prefill_rows = 512,
                          .max_running_sequences = 64,
                          .max_queued_requests = 64,
                          .prefix_cache_bytes = capacity_bytes};
    replica_ = std::make_unique<Replica>(options, &ScenarioModel(), &ScenarioTable());
    replica_->SetObserver(
        [this] { most_held_ = std::max(most_held_, replica_->core().running().size()); });
  }
  void Run(int requests, int64_t shared_tokens = 2000) {
    TraceRequest request{.prompt_tokens = 2048, .shared_tokens = shared_tokens, .max_tokens = 20};
    request.output_tokens = 20;
    request.kv.pinned_config = "int8";
    ClassOutcome outcome;
    for (int i = 0; i < requests; ++i) {
      const std::string id = std::to_string(i);
      ASSERT_TRUE(replica_->Submit(request, id, MakeSink(replica_.get(), request, &outcome)).ok());
    }
    replica_->Finish();
    EXPECT_EQ(outcome.finished, requests);
    replica_->core().Publish();
  }
  uint64_t found_tokens() const {
    return replica_->core().stats().Snapshot().prefix_hit_tokens_total;
  }

  static constexpr uint64_t kOne = uint64_t{720} << 10;  // a little more than one request takes
  std::unique_ptr<Replica> replica_;
  size_t most_held_ = 0;
};

TEST_F(SharedPromptTest, IsPromisedOnceWhoeverIsAdmitted) {
  Start(2 * kOne);
  Run(1);
  Run(30);
  EXPECT_GE(most_held_, 6u);  // of a seventh of kOne each, behind what all have in common
}

TEST_F(SharedPromptTest, IsFoundWhereItAndAWholeRequestWouldNotFit) {
  Start(kOne * 5 / 4);
  Run(1);
  Run(1);
  EXPECT_EQ(found_tokens(), 1792u);  // whole chunks of 256
}

TEST_F(SharedPromptTest, GivesWayOnlyToClassesThatMayShedIt) {
  for (const bool shed : {true, false}) {
    Start(2 * kOne);
    auto slo = std::make_shared<ModelSlo>();
    slo->classes.push_back({.name = "default", .pressure = {PressureAction::kQueue}});
    if (!shed) replica_->SetSlo(slo);
    most_held_ = 0;
    Run(1);
    Run(2, /*shared_tokens=*/0);  // room for two, or for one beside what is cached
    EXPECT_EQ(most_held_, shed ? 2u : 1u);
  }
}

TEST_F(SharedPromptTest, TakesLittleMoreThanItsEncodedBlocks) {
  Start(4 * kOne);
  Run(1);
  const kv::FootprintParams footprint = Footprint(ScenarioTable().rows[1].config, ScenarioModel());
  const size_t blocks = 2048 / kv::kBlockTokens * footprint.sealed_block_bytes;
  EXPECT_GT(replica_->arena().stats().cached_bytes, blocks * 9 / 10);
  EXPECT_LT(replica_->arena().stats().cached_bytes, blocks * 13 / 10);
}

TEST(SloCheckTest, TellsHowManyFit) {
  auto file = ParseSlo(
      "schema_version: 1\nmodels:\n  - model: m\n    classes:\n      - name: gold\n"
      "        guaranteed_share: 0.5\n        accuracy_floor: 0.97\n",
      "slo.yaml");
  ASSERT_TRUE(file.ok());
  const auto text = DescribeSlo(file->models[0], ScenarioTable(), ScenarioModel(), 16 << 20,
                                [](int) { return uint64_t{0}; });
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("class gold\n"));
  EXPECT_THAT(*text, HasSubstr("class default\n"));
  EXPECT_THAT(*text, HasSubstr("1024 tokens: bf16 (0.5 MB, accuracy 1): 15 to 31; int8"));
  file->models[0].classes[0].accuracy_floor = 1.0;
  EXPECT_TRUE(DescribeSlo(file->models[0], ScenarioTable(), ScenarioModel(), 16 << 20, [](int) {
                return uint64_t{0};
              }).ok());
}

}  // namespace
}  // namespace kvpareto::sim
