// Attention against double precision over the decoded tiles, for every instruction set.
#include "engine/cpu/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cpu/attention_step.h"

namespace kvpareto::cpu {
namespace {

struct Case {
  const char* k_codec = "bf16";
  const char* v_codec = "bf16";
  int head_dim = 64;
  Heads heads = {9, 3};
  int sink_tokens = 0;
  int recent_blocks = 0;
  int sliding_window = 0;
  const char* open_codec = "bf16";
};

void PrintTo(const Case& c, std::ostream* os) {
  *os << c.k_codec << "/" << c.v_codec << " d" << c.head_dim << " heads " << c.heads.heads << "/"
      << c.heads.kv_heads << " sink " << c.sink_tokens << " recent " << c.recent_blocks
      << " window " << c.sliding_window << " open " << c.open_codec;
}

class AttentionTest : public testing::TestWithParam<Case> {
 protected:
  CacheShape Shape() const {
    const Case& c = GetParam();
    return {.kv_heads = c.heads.kv_heads,
            .head_dim = c.head_dim,
            .codecs = {Codec(c.k_codec), Codec(c.v_codec)},
            .open_codec = Codec(c.open_codec),
            .sink_tokens = c.sink_tokens,
            .recent_blocks = c.recent_blocks};
  }
  void Check(std::vector<Query> queries) const {
    const Case& c = GetParam();
    Step step(c.heads, c.head_dim, c.sliding_window, std::move(queries));
    std::vector<uint32_t> seeds(step.args().sequences.size());
    for (size_t i = 0; i < seeds.size(); ++i) seeds[i] = 100 + i;
    step.FillQueries(seeds);
    for (Isa isa : AvailableIsas()) {
      SCOPED_TRACE(Name(isa));
      step.Run(isa, 2);
      ASSERT_NO_FATAL_FAILURE(step.ExpectMatchesOracle(isa));
    }
  }
};

// Every length class in one step, as decode rows.
TEST_P(AttentionTest, DecodeMatchesOracle) {
  std::vector<std::unique_ptr<CachedSequence>> sequences;
  std::vector<Query> queries;
  for (int length : {1, 2, 17, 63, 64, 65, 200, 600}) {
    sequences.push_back(std::make_unique<CachedSequence>(Shape(), length, 7 * length));
    queries.push_back({sequences.back().get(), 1, true});
  }
  Check(queries);
}

// What rounding factors to bytes takes is allowed for above; where it takes nothing, nothing is.
TEST_P(AttentionTest, DecodeIsExactWhereFactorsAre) {
  const Case& c = GetParam();
  const bool bytes_of_values = kv::GetCodecInfo(Codec(c.v_codec)).bits <= 4;
  const int sliding_window = bytes_of_values ? 1 : c.sliding_window;
  std::vector<std::unique_ptr<CachedSequence>> sequences;
  std::vector<Query> queries;
  for (int tiles : {1, 2, 9}) {
    const int length = tiles * kv::kBlockTokens;
    sequences.push_back(std::make_unique<CachedSequence>(Shape(), length, 5 * length));
    queries.push_back({sequences.back().get(), 1, true});
  }
  Step step(c.heads, c.head_dim, sliding_window, std::move(queries));
  step.FillOneHotQueries(20.0f);
  for (Isa isa : AvailableIsas()) {
    SCOPED_TRACE(Name(isa));
    step.Run(isa, 2);
    ASSERT_NO_FATAL_FAILURE(step.ExpectMatchesOracle(isa));
  }
}

// Whole prompts, chunks that begin in the middle of a block, single prefill rows.
TEST_P(AttentionTest, PrefillMatchesOracle) {
  std::vector<std::unique_ptr<CachedSequence>> sequences;
  std::vector<Query> queries;
  const std::pair<int, int> length_and_rows[] = {{1, 1},   {63, 63},  {64, 64},   {65, 1},
                                                 {65, 65}, {200, 37}, {210, 100}, {330, 40}};
  for (auto [length, rows] : length_and_rows) {
    sequences.push_back(std::make_unique<CachedSequence>(Shape(), length, 11 * length + rows));
    queries.push_back({sequences.back().get(), rows});
  }
  Check(queries);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionTest,
    testing::Values(Case{}, Case{.head_dim = 80, .heads = {4, 4}},
                    Case{.head_dim = 96, .heads = {4, 2}}, Case{.head_dim = 128, .heads = {14, 2}},
                    Case{.head_dim = 256, .heads = {4, 1}}, Case{.head_dim = 64, .heads = {14, 2}},
                    Case{.heads = {4, 4}, .sink_tokens = 16}, Case{.sink_tokens = 5},
                    Case{.sink_tokens = 50}, Case{.heads = {2, 1}, .sink_tokens = 1000},
                    Case{.sliding_window = 1}, Case{.sliding_window = 63},
                    Case{.heads = {4, 2}, .sliding_window = 100},
                    Case{.head_dim = 24, .heads = {2, 1}}));

std::vector<Case> CodecCases() {
  std::vector<Case> cases;
  for (int i = 1; i < kv::NumCodecs(); ++i) {
    const char* name = kv::GetCodecInfo(kv::CodecId(i)).name.data();
    for (int head_dim : {64, 80, 96, 128}) {
      if (!kv::CodecSupports(kv::CodecId(i), head_dim)) continue;
      cases.push_back({.k_codec = name, .head_dim = head_dim, .heads = {3, 1}});
      cases.push_back({.v_codec = name, .head_dim = head_dim, .heads = {2, 1}});
    }
  }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(EveryCodec, AttentionTest, testing::ValuesIn(CodecCases()));

INSTANTIATE_TEST_SUITE_P(
    Mixed, AttentionTest,
    testing::Values(Case{.k_codec = "int4-channel",
                         .v_codec = "int4-token-g32",
                         .sink_tokens = 16,
                         .recent_blocks = 1},
                    Case{.k_codec = "int8-token", .v_codec = "int4-token", .heads = {14, 2}},
                    Case{.k_codec = "int2-channel",
                         .v_codec = "int2-token-g32",
                         .head_dim = 128,
                         .heads = {8, 1},
                         .sink_tokens = 16,
                         .recent_blocks = 2,
                         .sliding_window = 300}));

constexpr Case Reference(int head_dim, Heads heads, int sink_tokens = 0, int sliding_window = 0) {
  return {.k_codec = "f32",
          .v_codec = "f32",
          .head_dim = head_dim,
          .heads = heads,
          .sink_tokens = sink_tokens,
          .sliding_window = sliding_window,
          .open_codec = "f32"};
}
INSTANTIATE_TEST_SUITE_P(OpenF32, AttentionTest,
                         testing::Values(Reference(64, {9, 3}), Reference(80, {4, 4}),
                                         Reference(96, {4, 2}), Reference(128, {14, 2}, 16),
                                         Reference(256, {4, 1}), Reference(64, {14, 2}, 50),
                                         Reference(64, {2, 1}, 1000), Reference(64, {4, 2}, 5, 100),
                                         Reference(24, {2, 1}),
                                         Case{.k_codec = "int4-channel",
                                              .v_codec = "int4-token",
                                              .recent_blocks = 1,
                                              .open_codec = "f32"}));

// Non-finite keys and values of one sequence leave the others' results as they are, to the bit.
TEST(AttentionIsolationTest, PoisonStaysInItsOwnSequence) {
  const Heads heads = {4, 2};
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const char* codec : {"bf16", "f32", "int8-token", "int4-channel", "int4-dual", "int6-token",
                            "int3-channel", "int2-token-g32-smooth"}) {
    for (float poison : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
      CacheShape shape = {.kv_heads = 2, .codecs = {Codec(codec), Codec(codec)}, .sink_tokens = 16};
      if (Codec(codec) == kv::CodecId::kF32) shape.open_codec = kv::CodecId::kF32;
      const CachedSequence decode(shape, 200, 1), prefill(shape, 230, 2);
      shape.poison = poison;
      const CachedSequence poisoned_decode(shape, 210, 3), poisoned_prefill(shape, 190, 4);
      const std::vector<Query> queries = {
          {&poisoned_decode, 1, true}, {&decode, 1, true}, {&poisoned_prefill, 70}, {&prefill, 40}};
      for (Isa isa : AvailableIsas()) {
        SCOPED_TRACE(testing::Message() << codec << " " << Name(isa) << " poison " << poison);
        Step together(heads, shape.head_dim, 0, queries);
        const uint32_t seeds[] = {1, 2, 3, 4};
        together.FillQueries(seeds);
        together.Run(isa, 2);
        for (size_t s : {1, 3}) {
          Step alone(heads, shape.head_dim, 0, {queries[s]});
          alone.FillQueries({&seeds[s], 1});
          alone.Run(isa, 1);
          const std::span<const float> want = alone.out_of(0);
          const std::span<const float> got = together.out_of(s);
          EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size_bytes()), 0) << s;
          for (float x : got) ASSERT_TRUE(std::isfinite(x));
        }
      }
    }
  }
}

// Bit for bit the same, alone on one thread or among others on many.
TEST(AttentionDeterminismTest, ResultDependsOnOwnSequenceOnly) {
  const Heads heads = {6, 2};
  CacheShape shape = {.kv_heads = 2, .head_dim = 64, .sink_tokens = 16};
  std::vector<std::unique_ptr<CachedSequence>> sequences;
  std::vector<Query> queries;
  std::vector<uint32_t> seeds;
  const char* const codecs[] = {"bf16", "int8-token", "int4-channel", "int4-token-g32"};
  int i = 0;
  for (bool decode : {true, false}) {
    for (const char* codec : codecs) {
      shape.codecs = {Codec(codec), Codec(codec)};
      const int length = 150 + 331 * i++;
      sequences.push_back(std::make_unique<CachedSequence>(shape, length, length));
      queries.push_back({sequences.back().get(), decode ? 1 : 70, decode});
      seeds.push_back(length);
    }
  }
  for (Isa isa : AvailableIsas()) {
    Step together(heads, shape.head_dim, 0, queries);
    together.FillQueries(seeds);
    together.Run(isa, 3);
    for (size_t s = 0; s < queries.size(); ++s) {
      Step alone(heads, shape.head_dim, 0, {queries[s]});
      alone.FillQueries({&seeds[s], 1});
      alone.Run(isa, 1);
      const std::span<const float> a = alone.out_of(0);
      const std::span<const float> b = together.out_of(s);
      ASSERT_EQ(a.size(), b.size());
      EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size_bytes()), 0)
          << Name(isa) << " sequence " << s;
    }
  }
}

// Long sequences are split less finely: the last position before that and the first behind it, and
// splits of more tiles than are worked on at once (a sink stands before them).
TEST(AttentionSplitTest, LongSequencesMatchOracle) {
  const Heads heads = {16, 8};
  for (const char* const codecs :
       {"bf16 bf16", "int8-channel int8-token", "int4-token int4-channel"}) {
    const std::string_view pair = codecs;
    const size_t space = pair.find(' ');
    const CacheShape shape = {
        .kv_heads = heads.kv_heads,
        .head_dim = 64,
        .codecs = {Codec(pair.substr(0, space)), Codec(pair.substr(space + 1))},
        .sink_tokens = 16};
    std::vector<std::unique_ptr<CachedSequence>> sequences;
    std::vector<Query> queries;
    std::vector<uint32_t> seeds;
    for (const int length : {2048, 2049, 3100}) {
      sequences.push_back(std::make_unique<CachedSequence>(shape, length, length));
      queries.push_back({sequences.back().get(), 1, true});
      seeds.push_back(length);
    }
    Step step(heads, shape.head_dim, 0, queries);
    step.FillQueries(seeds);
    for (Isa isa : AvailableIsas()) {
      SCOPED_TRACE(testing::Message() << codecs << " " << Name(isa));
      step.Run(isa, 2);
      ASSERT_NO_FATAL_FAILURE(step.ExpectMatchesOracle(isa));
    }
  }
}

// Integer products are exact, so where codes are all there is, tiles change nothing.
TEST(AttentionCodesTest, AmxDecodesToTheBitsOfVectors) {
  if (DetectIsa() < Isa::kAmx) GTEST_SKIP() << "no AMX";
  for (int i = 0; i < kv::NumCodecs(); ++i) {
    const kv::CodecInfo& info = kv::GetCodecInfo(kv::CodecId(i));
    if (!info.name.starts_with("int")) continue;
    for (const Heads heads : {Heads{1, 1}, Heads{6, 2}, Heads{14, 2}, Heads{20, 1}}) {
      for (const int head_dim : {64, 80, 128, 256}) {
        if (!kv::CodecSupports(kv::CodecId(i), head_dim)) continue;
        SCOPED_TRACE(testing::Message() << info.name << " d" << head_dim << " " << heads.heads);
        const CachedSequence sequence({.kv_heads = heads.kv_heads,
                                       .head_dim = head_dim,
                                       .codecs = {kv::CodecId(i), kv::CodecId(i)}},
                                      10 * kv::kBlockTokens, i);
        Step step(heads, head_dim, 0, {{&sequence, 1, true}});
        const uint32_t seed = head_dim;
        step.FillQueries({&seed, 1});
        step.Run(Isa::kAvx512, 1);
        const std::vector<float> vectors(step.out_of(0).begin(), step.out_of(0).end());
        step.Run(Isa::kAmx, 2);
        EXPECT_EQ(
            std::memcmp(vectors.data(), step.out_of(0).data(), sizeof(float) * vectors.size()), 0);
      }
    }
  }
}

TEST(AttentionEdgeTest, NoRowsAndNoSequences) {
  const CachedSequence sequence({}, 70, 1);
  for (Isa isa : AvailableIsas()) {
    Step none({1, 1}, 64, 0, {});
    none.Run(isa, 2);
    Step no_rows({1, 1}, 64, 0, {{&sequence, 0}});
    no_rows.Run(isa, 2);
  }
}

}  // namespace
}  // namespace kvpareto::cpu
