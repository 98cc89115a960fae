// An AutoAWQ checkpoint and the same values as a dense model give the same logits.
#include <cmath>

#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

constexpr int kTokens = 100;

std::vector<float> Logits(const std::string& model_path, const std::string& isa) {
  EngineOptions options;
  options.model_path = model_path;
  options.kv_capacity_bytes = uint64_t{64} << 20;
  options.threads = 2;
  options.device = "cpu";
  options.isa = isa;
  auto engine = Engine::Create(options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  if (!engine.ok()) return {};
  std::vector<int32_t> tokens(kTokens);
  for (int i = 0; i < kTokens; ++i) tokens[i] = support::kFirstByte + i * 37 % 256;
  std::vector<float> logits;
  // Half of them in a chunk, half one by one.
  const absl::Status status =
      (*engine)->Score(tokens, KvConfig::Bf16(64), {.decode_from = kTokens / 2},
                       [&](int64_t, std::span<const float> rows) {
                         logits.insert(logits.end(), rows.begin(), rows.end());
                       });
  EXPECT_TRUE(status.ok()) << status;
  return logits;
}

class AwqEngineTest : public testing::TestWithParam<Architecture> {};

TEST_P(AwqEngineTest, EqualsTheDenseModelOfItsValues) {
  const support::TinyModel model = support::MakeTinyModel(
      {.architecture = GetParam(), .tied = GetParam() == Architecture::kLlama});
  const support::TempDir dir;
  support::WriteHfDirectory(model, dir.File("awq"), {.awq_group_cols = 64});
  support::WriteHfDirectory(support::AwqRounded(model, 64), dir.File("dense"));
  const std::vector<float> awq = Logits(dir.File("awq"), "scalar");
  const std::vector<float> dense = Logits(dir.File("dense"), "scalar");
  ASSERT_EQ(awq.size(), size_t{kTokens} * support::kTinyVocab);
  EXPECT_EQ(awq, dense);
  // Vector code rounds activations otherwise; the logits' standard deviation is 1.
  const std::vector<float> fast = Logits(dir.File("awq"), "auto");
  ASSERT_EQ(fast.size(), awq.size());
  double squares = 0.0;
  for (size_t i = 0; i < awq.size(); ++i) squares += std::pow(fast[i] - dense[i], 2);
  EXPECT_LT(std::sqrt(squares / awq.size()), 0.05);
}

INSTANTIATE_TEST_SUITE_P(Architectures, AwqEngineTest,
                         testing::Values(Architecture::kLlama, Architecture::kQwen2),
                         [](const auto& i) { return std::string(ArchitectureName(i.param)); });

}  // namespace
}  // namespace kvpareto
