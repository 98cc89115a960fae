#include "autotuner/memory_model.h"

#include "autotuner/memory_probe.h"
#include "gtest/gtest.h"
#include "tests/autotuner/tiny_engine.h"

namespace kvpareto::tune {
namespace {

// Published sizes of models whose configuration is known.
TEST(CountParametersTest, PublishedModels) {
  ModelConfig smollm2{.layers = 30, .hidden = 576, .ffn = 1536, .heads = 9, .kv_heads = 3};
  smollm2.head_dim = 64;
  smollm2.vocab = 49152;
  smollm2.tied_head = true;
  EXPECT_EQ(CountParameters(smollm2), 134515008);

  ModelConfig qwen{.layers = 24, .hidden = 896, .ffn = 4864, .heads = 14, .kv_heads = 2};
  qwen.head_dim = 64;
  qwen.vocab = 151936;
  qwen.tied_head = true;
  qwen.qkv_bias = true;
  EXPECT_EQ(CountParameters(qwen), 494032768);
}

// KV Pareto's Qwen2.5-3B at 10k tokens: 0.37 GB of keys and values, 3.2 GB of scores.
TEST(BaselineTest, ThePapersAccounting) {
  ModelConfig qwen{.layers = 36, .heads = 16, .kv_heads = 2, .head_dim = 128};
  const BaselineMemory baseline = Baseline(qwen, 3'085'938'688, 10000);
  EXPECT_EQ(baseline.weights_bytes, 6'171'877'376);
  EXPECT_EQ(baseline.kv_bytes, 368'640'000);
  EXPECT_EQ(baseline.scores_bytes, 3'200'000'000);
  EXPECT_EQ(baseline.eager_bytes(), baseline.flash_bytes() + baseline.scores_bytes);
  EXPECT_DOUBLE_EQ(Reduction(1, 4), 0.75);
}

class PredictTotalTest : public TinyEngineTest {};

TEST_F(PredictTotalTest, AddsUpWhatTheEngineSays) {
  const auto config = KvConfig::Parse("k=int4-channel v=int4-token recent=64 chunk=128");
  ASSERT_TRUE(config.ok());
  const TotalMemory total = PredictTotal(*engine_, *config, 300);
  EXPECT_EQ(total.weights_bytes, engine_->model().weights_bytes);
  EXPECT_EQ(total.workspace_bytes, engine_->WorkspaceBytes(128));
  EXPECT_EQ(total.total_bytes(), total.weights_bytes + total.kv_bytes + total.workspace_bytes);

  Request request;
  request.prompt = std::vector<int32_t>(300, 5);
  request.stopping.max_tokens = 1;
  request.kv.pinned_config = config->ToString();
  const auto prepared = engine_->Prepare(std::move(request));
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_GE(prepared->plan.kv_peak_bytes, total.kv_bytes);
  // One token more than the prompt: at most one block more.
  EXPECT_LE(prepared->plan.kv_peak_bytes - total.kv_bytes,
            Footprint(*config, engine_->model().config).bf16_block_bytes);
}

// Of the process only an upper bound can be tested here: the tests before this one leave memory
// that the allocator takes from first, and sanitizers take some of their own.
TEST_F(PredictTotalTest, AProbeMeasuresWhatIsPredicted) {
  const auto config = KvConfig::Parse("k=int8-channel v=int8-token chunk=128");
  ASSERT_TRUE(config.ok());
  const auto probe = ProbeMemory({.model_path = folder_.File("tiny.gguf"),
                                  .calibration_path = {},
                                  .device = "cpu",
                                  .config = *config,
                                  .tokens = 2000,
                                  .threads = 2});
  ASSERT_TRUE(probe.ok()) << probe.status();
  EXPECT_EQ(probe->arena_peak_bytes, probe->predicted.kv_bytes);
  EXPECT_GT(probe->fixed_bytes, uint64_t{1} << 20) << "code at least";
  EXPECT_LE(probe->rss_peak_bytes, probe->predicted_rss_bytes() + (uint64_t{64} << 20));
}

}  // namespace
}  // namespace kvpareto::tune
