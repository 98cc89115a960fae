// The key bias term of attention, and that removing the bias and adding the term is exact.
#include <gtest/gtest.h>

#include "engine/cpu/angle_table.h"
#include "engine/cpu/transform_row.h"
#include "tests/cpu/attention_step.h"

namespace kvpareto::cpu {
namespace {

std::vector<float> Frequencies(int head_dim, double theta) {
  std::vector<float> frequencies(head_dim / 2);
  for (int i = 0; i < head_dim / 2; ++i) {
    frequencies[i] = static_cast<float>(std::pow(theta, -2.0 * i / head_dim));
  }
  return frequencies;
}

struct Case {
  int head_dim = 64;
  Heads heads = {7, 1};
  float size = 30.0f;  // of the elements of [A | B]
  int first_position = 0;
  int sink_tokens = 0;
  int sliding_window = 0;
  const char* k_codec = "bf16";
};

void PrintTo(const Case& c, std::ostream* os) {
  *os << "d" << c.head_dim << " heads " << c.heads.heads << "/" << c.heads.kv_heads << " size "
      << c.size << " from " << c.first_position << " sink " << c.sink_tokens << " window "
      << c.sliding_window << " " << c.k_codec;
}

class KeyBiasTest : public testing::TestWithParam<Case> {
 protected:
  CacheShape Shape() const {
    const Case& c = GetParam();
    return {.kv_heads = c.heads.kv_heads,
            .head_dim = c.head_dim,
            .codecs = {Codec(c.k_codec), Codec("bf16")},
            .sink_tokens = c.sink_tokens,
            .first_position = c.first_position};
  }
  void Check(const std::vector<std::pair<int, int>>& length_and_rows, bool decode) const {
    const Case& c = GetParam();
    std::vector<std::unique_ptr<CachedSequence>> sequences;
    std::vector<Query> queries;
    std::vector<uint32_t> seeds;
    for (auto [length, rows] : length_and_rows) {
      sequences.push_back(std::make_unique<CachedSequence>(Shape(), length, 13 * length + rows));
      queries.push_back({sequences.back().get(), rows, decode});
      seeds.push_back(1000 + length);
    }
    const std::vector<float> frequencies = Frequencies(c.head_dim, 1e6);
    Step step(c.heads, c.head_dim, c.sliding_window, queries);
    step.AddKeyBias(c.size, frequencies);
    step.FillQueries(seeds);
    for (Isa isa : AvailableIsas()) {
      SCOPED_TRACE(Name(isa));
      step.Run(isa, 2);
      ASSERT_NO_FATAL_FAILURE(step.ExpectMatchesOracle(isa));
    }
  }
};

TEST_P(KeyBiasTest, DecodeMatchesOracle) {
  Check({{1, 1}, {17, 1}, {64, 1}, {65, 1}, {200, 1}, {600, 1}}, true);
}

TEST_P(KeyBiasTest, PrefillMatchesOracle) {
  Check({{1, 1}, {64, 64}, {65, 1}, {200, 37}, {210, 100}, {330, 40}}, false);
}

// Sizes up to those of a Qwen2.5 first layer, where most rows see one key only; positions up to
// 30000; sinks that put blocks at positions of no multiple of 16.
INSTANTIATE_TEST_SUITE_P(
    Shapes, KeyBiasTest,
    testing::Values(Case{.size = 1.0f}, Case{}, Case{.size = 1000.0f},
                    Case{.size = 5.0f, .first_position = 29952},
                    Case{.size = 300.0f, .first_position = 29952},
                    Case{.size = 5.0f, .first_position = 1000, .sink_tokens = 16},
                    Case{.heads = {3, 3}, .size = 5.0f, .sink_tokens = 5},
                    Case{.head_dim = 128, .heads = {6, 2}, .size = 3.0f, .sink_tokens = 50},
                    Case{.head_dim = 80, .heads = {4, 2}, .size = 3.0f, .sink_tokens = 16},
                    Case{.head_dim = 96, .heads = {5, 1}, .size = 3.0f, .first_position = 1017},
                    Case{.head_dim = 24, .heads = {2, 1}, .size = 3.0f},
                    Case{.size = 3.0f, .sliding_window = 100},
                    Case{.size = 3.0f, .sink_tokens = 16, .k_codec = "int4-token"},
                    Case{.size = 3.0f, .sink_tokens = 7, .k_codec = "int4-channel"},
                    Case{.size = 3.0f, .k_codec = "int8-token-g32"}));

// Bit for bit the same alone or among sequences without a bias.
TEST(KeyBiasDeterminismTest, ResultDependsOnOwnSequenceOnly) {
  const Heads heads = {14, 2};
  const CacheShape shape = {.kv_heads = 2, .head_dim = 64, .sink_tokens = 16};
  const std::vector<float> frequencies = Frequencies(64, 1e4);
  const CachedSequence first(shape, 700, 1), second(shape, 300, 2), third(shape, 1500, 3);
  const std::vector<Query> queries = {{&first, 1, true}, {&third, 1, true}, {&second, 70}};
  const std::vector<uint32_t> seeds = {4, 5, 6};
  for (Isa isa : AvailableIsas()) {
    Step together(heads, 64, 0, queries);
    together.AddKeyBias(5.0f, frequencies);
    together.FillQueries(seeds);
    together.ClearKeyBias(1);
    together.Run(isa, 3);
    for (size_t s : {0, 1, 2}) {
      Step alone(heads, 64, 0, {queries[s]});
      alone.AddKeyBias(5.0f, frequencies);
      alone.FillQueries({&seeds[s], 1});
      if (s == 1) alone.ClearKeyBias(0);
      alone.Run(isa, 1);
      const std::span<const float> a = alone.out_of(0), b = together.out_of(s);
      ASSERT_EQ(a.size(), b.size());
      EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size_bytes()), 0) << Name(isa) << " " << s;
    }
  }
}

TEST(AngleTableTest, HoldsRopeAnglesOfAllPositions) {
  for (Isa isa : AvailableIsas()) {
    const ElementwiseKernels& kernels = ElementwiseFor(isa);
    AngleTable table(kernels);
    // Grown in steps, then begun anew for another model.
    for (int head_dim : {64, 128}) {
      const std::vector<float> frequencies = Frequencies(head_dim, 1e4);
      for (int positions : {1, 1024, 3000}) table.Cover(frequencies, positions);
      const AngleView view = table.view();
      ASSERT_EQ(view.head_dim, head_dim);
      EXPECT_GE(table.bytes(), 3000 * head_dim * sizeof(float));
      EXPECT_LE(table.bytes(), 3 * 1024 * head_dim * sizeof(float) + 4096);
      for (int p : {0, 1, 15, 16, 1023, 1024, 2999}) {
        std::vector<float> cosine(head_dim / 2), sine(head_dim / 2);
        kernels.rope_angles(p, frequencies.data(), head_dim / 2, cosine.data(), sine.data());
        const float* group = view.chunks[p / 1024] + p % 1024 / 16 * head_dim * 16 + p % 16;
        for (int i = 0; i < head_dim / 2; ++i) {
          EXPECT_EQ(group[i * 16], cosine[i]);
          EXPECT_EQ(group[(i + head_dim / 2) * 16], sine[i]);
        }
      }
    }
  }
}

// The stored key and the term together score as the key with its bias does: for random q, k and a
// bias of norm 900, q . (k' + RoPE_p(b)) of the kernels' own floats against RoPE'd keys in double.
TEST(KeyBiasExactnessTest, RemovalAndTermCancel) {
  constexpr int kHeadDim = 64;
  const std::vector<float> frequencies = Frequencies(kHeadDim, 1e6);
  std::mt19937 rng(17);
  std::normal_distribution<float> normal;
  std::vector<float> bias(kHeadDim);
  double norm = 0.0;
  for (float& b : bias) {
    b = normal(rng);
    norm += double{b} * b;
  }
  for (float& b : bias) b *= 900.0f / static_cast<float>(std::sqrt(norm));
  const LayerTransform transform = {.key_bias = bias.data()};
  for (Isa isa : AvailableIsas()) {
    SCOPED_TRACE(Name(isa));
    const ElementwiseKernels& kernels = ElementwiseFor(isa);
    AngleTable table(kernels);
    table.Cover(frequencies, 30001);
    for (int p = 0; p <= 30000; p += 1 + p / 3) {
      std::vector<float> k(kHeadDim), q(kHeadDim), v(kHeadDim), bias_query(kHeadDim);
      for (float& x : k) x = normal(rng);
      for (float& x : q) x = 3.0f * normal(rng);
      // As the model does it: the bias is added before RoPE.
      std::vector<float> biased(k), cosine(kHeadDim / 2), sine(kHeadDim / 2);
      for (int c = 0; c < kHeadDim; ++c) biased[c] += bias[c];
      kernels.rope_angles(p, frequencies.data(), kHeadDim / 2, cosine.data(), sine.data());
      kernels.rope(cosine.data(), sine.data(), kHeadDim / 2, biased.data());
      double want = 0.0, q_norm = 0.0;
      for (int c = 0; c < kHeadDim; ++c) {
        want += double{q[c]} * biased[c];
        q_norm += double{q[c]} * q[c];
      }
      const TransformKvArgs args = {
          .heads = 1, .kv_heads = 1, .head_dim = kHeadDim, .inverse_frequency = frequencies};
      const TransformRow row = {.q = q.data(),
                                .k = biased.data(),
                                .v = v.data(),
                                .bias_query = bias_query.data(),
                                .position = p};
      TransformKvRows(kernels, transform, args, {&row, 1});
      // What is stored is as small as the key without bias.
      double stored = 0.0, got = 0.0;
      const float* angle = table.view().chunks[p / 1024] + p % 1024 / 16 * kHeadDim * 16 + p % 16;
      for (int c = 0; c < kHeadDim; ++c) {
        stored += double{biased[c]} * biased[c];
        got += double{q[c]} * biased[c] + double{bias_query[c]} * angle[c * 16];
      }
      EXPECT_LT(std::sqrt(stored), 2.5 * std::sqrt(double{kHeadDim})) << p;
      // Roundings of floats as large as the bias: in the biased key (3), in the removed part (3),
      // in [A | B] (3), each 2^-24 of |q| |b| at most.
      EXPECT_NEAR(got, want, 9 * 0x1p-24 * std::sqrt(q_norm) * 900.0) << p;
    }
  }
}

}  // namespace
}  // namespace kvpareto::cpu
