#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <fstream>
#include <sstream>

#include "server/memory_snapshot.h"
#include "tests/server/fake_engine.h"

namespace kvpareto::server {
namespace {

using ::testing::HasSubstr;

EngineStats SomeStats() {
  EngineStats stats;
  stats.capacity_bytes = 1'000'000'000'000;  // more digits than a float has
  stats.kv[{"batch", "int4"}] = {.allocated_bytes = 100'000'000'001,
                                 .live_bytes = 90'000'000'000,
                                 .bf16_bytes = 360'000'000'000};
  stats.kv[{"default", "bf16"}] = {.allocated_bytes = 7, .live_bytes = 5, .bf16_bytes = 5};
  stats.cached_bytes = {{"int8", 40}};
  stats.evicted_bytes_total = {{"int8", 400}};
  stats.requantized_bytes_total = {{{"bf16", "int8"}, 4000}};
  stats.prefix_hit_tokens_total = 41;
  stats.prefix_miss_tokens_total = 42;
  stats.arena_allocated_bytes = 100'000'000'048;
  stats.arena_largest_free_bytes = (stats.capacity_bytes - stats.arena_allocated_bytes) / 4;
  stats.reserved_bytes = {{"batch", 150}, {"default", 20}};
  stats.running = {{"batch", 2}};
  stats.waiting = {{"default", 3}};
  stats.weights_bytes = 77;
  stats.workspace_bytes = 66;
  stats.transform_bytes = 67;
  stats.plans_total[{"batch", "int4", "budget"}] = 4;
  stats.prompt_tokens_total = {{"batch", 1000}};
  stats.generated_tokens_total = {{"batch", 50}};
  stats.steps_total = 12;
  const HistogramSnapshot histogram{.upper_bounds = {0.1, 1.0}, .counts = {1, 2, 4}, .sum = 9.5};
  stats.time_to_first_token_seconds["batch"] = histogram;
  stats.inter_token_seconds["batch"] = histogram;
  stats.queue_seconds["batch"] = histogram;
  stats.request_seconds["batch"] = histogram;
  stats.step_seconds["prefill"] = histogram;
  stats.prefill_chunk_tokens = histogram;
  stats.plan_prediction_error_ratio = histogram;
  return stats;
}

class MetricsTest : public ::testing::Test {
 protected:
  MetricsTest() {
    auto engine = std::make_unique<FakeEngine>();
    engine_ = engine.get();
    Models::Map engines;
    engines.emplace("m", std::move(engine));
    models_ = std::make_unique<Models>(std::move(engines), "m");
    slo_ = std::make_unique<SloLoader>("", models_.get(), &classes_);
    metrics_ = std::make_unique<Metrics>(models_.get(), &counter_, &classes_, slo_.get());
  }
  std::string Text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, metrics_->Collect());
    return out.str();
  }
  // The value of the line that begins with `name_and_labels`.
  double Value(const std::string& text, const std::string& name_and_labels) const {
    const size_t at = text.find("\n" + name_and_labels + " ");
    EXPECT_NE(at, std::string::npos) << name_and_labels << " is not in\n" << text;
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name_and_labels.size() + 2));
  }

  const std::set<std::string> classes_ = {"batch", "default"};
  FakeEngine* engine_;
  RequestCounter counter_;
  std::unique_ptr<Models> models_;
  std::unique_ptr<SloLoader> slo_;
  std::unique_ptr<Metrics> metrics_;
};

TEST_F(MetricsTest, ShowsEveryFamilyWithItsLabels) {
  engine_->set_stats(SomeStats());
  counter_.Count({"m", "batch", "OK"});
  counter_.Count({"m", "batch", "OK"});
  counter_.Count({"m", "batch", "CANCELLED"});
  const std::string text = Text();
  const auto value = [&](const std::string& name) { return Value(text, "kvpareto_" + name); };
  EXPECT_EQ(value(R"(kv_capacity_bytes{model="m"})"), 1e12);
  EXPECT_EQ(value(R"(kv_reserved_bytes{model="m",class="batch"})"), 150);
  EXPECT_EQ(value(R"(kv_allocated_bytes{model="m",class="batch",config="int4"})"), 100'000'000'001);
  EXPECT_EQ(value(R"(kv_live_bytes{model="m",class="default",config="bf16"})"), 5);
  EXPECT_EQ(value(R"(kv_cached_bytes{model="m",config="int8"})"), 40);
  EXPECT_EQ(value(R"(evicted_bytes_total{model="m",config="int8"})"), 400);
  EXPECT_EQ(value(R"(requantized_bytes_total{model="m",from="bf16",to="int8"})"), 4000);
  EXPECT_EQ(value(R"(prefix_cache_tokens_total{model="m",result="hit"})"), 41);
  EXPECT_EQ(value(R"(prefix_cache_tokens_total{model="m",result="miss"})"), 42);
  EXPECT_EQ(value(R"(kv_fragmentation_ratio{model="m"})"), 0.75);
  EXPECT_NEAR(value(R"(kv_utilization_ratio{model="m"})"), 0.1, 1e-9);
  EXPECT_EQ(value(R"(kv_saved_bytes{model="m"})"), 270'000'000'000);
  EXPECT_EQ(value(R"(workspace_bytes{model="m"})"), 66);
  EXPECT_EQ(value(R"(transform_bytes{model="m"})"), 67);
  EXPECT_EQ(value(R"(weights_bytes{model="m"})"), 77);
  EXPECT_GT(value(R"(device_memory_bytes{device="host",state="resident"})"), 1e6);
  EXPECT_EQ(value(R"(plans_total{model="m",class="batch",config="int4",reason="budget"})"), 4);
  EXPECT_EQ(value(R"(requests_total{model="m",class="batch",code="OK"})"), 2);
  EXPECT_EQ(value(R"(requests_total{model="m",class="batch",code="CANCELLED"})"), 1);
  EXPECT_EQ(value(R"(requests_running{model="m",class="batch"})"), 2);
  EXPECT_EQ(value(R"(requests_waiting{model="m",class="default"})"), 3);
  EXPECT_EQ(value(R"(prompt_tokens_total{model="m",class="batch"})"), 1000);
  EXPECT_EQ(value(R"(generated_tokens_total{model="m",class="batch"})"), 50);
  for (const char* name : {R"(time_to_first_token_seconds_bucket{model="m",class="batch",le="1"})",
                           R"(inter_token_seconds_bucket{model="m",class="batch",le="1"})",
                           R"(queue_seconds_bucket{model="m",class="batch",le="1"})",
                           R"(request_seconds_bucket{model="m",class="batch",le="1"})",
                           R"(step_seconds_bucket{model="m",kind="prefill",le="1"})",
                           R"(prefill_chunk_tokens_bucket{model="m",le="1"})",
                           R"(plan_prediction_error_ratio_bucket{model="m",le="1"})"}) {
    EXPECT_EQ(value(name), 3) << name;  // cumulative: 1 + 2
  }
  EXPECT_EQ(value(R"(queue_seconds_bucket{model="m",class="batch",le="+Inf"})"), 7);
  EXPECT_EQ(value(R"(queue_seconds_count{model="m",class="batch"})"), 7);
  EXPECT_EQ(value(R"(queue_seconds_sum{model="m",class="batch"})"), 9.5);
  EXPECT_EQ(value(R"(table_bytes_per_token{model="m",config="bf16"})"), 512);
  EXPECT_EQ(value(R"(table_accuracy_ratio{model="m",config="bf16",max_context_tokens="1000"})"), 1);
  EXPECT_THAT(text, HasSubstr("kvpareto_build_info{version=\""));
  EXPECT_THAT(text, HasSubstr("kvpareto_model_info{model=\"m\",fingerprint=\"f00d\""));
  EXPECT_THAT(text, HasSubstr("kvpareto_table_info{model=\"m\""));
}

// Byte for byte, in the text that Prometheus reads.
TEST_F(MetricsTest, AllocatedAndCachedBytesAddUpToTheArenasCount) {
  engine_->set_stats(SomeStats());
  std::istringstream lines(Text());
  uint64_t sum = 0;
  uint64_t arena = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string number = line.substr(line.rfind(' ') + 1);
    if (line.starts_with("kvpareto_kv_allocated_bytes{")) sum += std::stoull(number);
    if (line.starts_with("kvpareto_kv_cached_bytes{")) sum += std::stoull(number);
    if (line.starts_with("kvpareto_kv_arena_allocated_bytes{")) arena = std::stoull(number);
  }
  EXPECT_EQ(sum, 100'000'000'048u);
  EXPECT_EQ(sum, arena);
}

TEST_F(MetricsTest, EveryFamilyIsDeclaredOnceAndDocumented) {
  engine_->set_stats(SomeStats());
  counter_.Count({"m", "batch", "OK"});
  std::ifstream file(KVPARETO_SOURCE_DIR "/docs/metrics.md");
  std::stringstream documentation;
  documentation << file.rdbuf();
  std::set<std::string> names;
  for (const prometheus::MetricFamily& family : metrics_->Collect()) {
    EXPECT_TRUE(names.insert(family.name).second) << family.name << " twice";
    EXPECT_FALSE(family.help.empty()) << family.name;
    EXPECT_THAT(documentation.str(), HasSubstr("`" + family.name + "`"));
    EXPECT_EQ(family.type == prometheus::MetricType::Counter, family.name.ends_with("_total"));
  }
  EXPECT_GE(names.size(), 25u);
}

// The memory service and the metrics never disagree: both come from Totals and the same snapshot.
TEST_F(MetricsTest, MemoryServiceShowsTheSameNumbers) {
  engine_->set_stats(SomeStats());
  const std::string text = Text();
  const v1::ModelMemory memory = ToProto("m", engine_->Stats());
  EXPECT_EQ(memory.capacity_bytes(), Value(text, R"(kvpareto_kv_capacity_bytes{model="m"})"));
  EXPECT_EQ(memory.allocated_bytes(),
            Value(text, R"(kvpareto_kv_arena_allocated_bytes{model="m"})"));
  EXPECT_EQ(memory.saved_bytes(), Value(text, R"(kvpareto_kv_saved_bytes{model="m"})"));
  EXPECT_EQ(memory.reserved_bytes(), 170u);
  EXPECT_EQ(memory.live_bytes(), 90'000'000'005u);
  ASSERT_EQ(memory.usage_size(), 2);
  EXPECT_EQ(memory.usage(0).config_name(), "int4");
  ASSERT_EQ(memory.classes_size(), 2);
  EXPECT_EQ(memory.classes(0).running(), 2);
  EXPECT_EQ(memory.classes(1).waiting(), 3);
  uint64_t sum = 0;
  for (const auto& usage : memory.usage()) sum += usage.allocated_bytes();
  for (const auto& cached : memory.cached()) sum += cached.cached_bytes();
  EXPECT_EQ(sum, memory.allocated_bytes());
}

TEST_F(MetricsTest, AnIdleEngineShowsZerosForEveryClass) {
  const std::string text = Text();
  for (const std::string name : {"kv_reserved_bytes", "requests_running", "requests_waiting"}) {
    EXPECT_EQ(Value(text, "kvpareto_" + name + R"({model="m",class="batch"})"), 0);
    EXPECT_EQ(Value(text, "kvpareto_" + name + R"({model="m",class="default"})"), 0);
  }
}

TEST_F(MetricsTest, AnEmptyEngineHasNoNaN) {
  EXPECT_EQ(Text().find("nan"), std::string::npos);
  EXPECT_EQ(Text().find("Nan"), std::string::npos);
  EXPECT_EQ(Totals(EngineStats{}).fragmentation_ratio, 0);
}

}  // namespace
}  // namespace kvpareto::server
