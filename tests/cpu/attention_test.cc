// Attention against double precision over the decoded tiles, for every instruction set.
#include "engine/cpu/attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cpu/attention_fixture.h"

namespace kvpareto::cpu {
namespace {

std::vector<Isa> AvailableIsas() {
  std::vector<Isa> isas = {Isa::kScalar};
  if (DetectIsa() >= Isa::kAvx512) isas.push_back(Isa::kAvx512);
  if (DetectIsa() >= Isa::kAmx) isas.push_back(Isa::kAmx);
  return isas;
}

const char* Name(Isa isa) {
  return isa == Isa::kScalar ? "scalar" : isa == Isa::kAvx512 ? "avx512" : "amx";
}

kv::CodecId Codec(std::string_view name) {
  const std::optional<kv::CodecId> codec = kv::FindCodec(name);
  EXPECT_TRUE(codec.has_value()) << name;
  return codec.value_or(kv::CodecId::kBf16);
}

struct Heads {
  int heads;
  int kv_heads;
};

// A sequence's part of a step.
struct Query {
  const CachedSequence* sequence;
  int rows;  // the last `rows` tokens are queries
  bool decode = false;
};

// A step over some sequences: random queries, and the outputs.
class Step {
 public:
  Step(Heads heads, int head_dim, int sliding_window, std::vector<Query> queries)
      : queries_(std::move(queries)) {
    int rows = 0;
    for (const Query& query : queries_) {
      const int first_row = rows;
      rows += query.rows;
      (query.decode ? args_.split.decode_rows : args_.split.prefill_rows) += query.rows;
      sequences_.push_back({.first_row = first_row,
                            .num_rows = query.rows,
                            .first_position = query.sequence->length() - query.rows,
                            .spans = query.sequence->spans()});
    }
    const int extra_columns = 2 * heads.kv_heads * head_dim;  // K and V stand behind Q
    q_.resize(static_cast<size_t>(rows) * (heads.heads * head_dim + extra_columns));
    out_.resize(static_cast<size_t>(rows) * heads.heads * head_dim);
    args_.q = {reinterpret_cast<std::byte*>(q_.data()), rows,
               heads.heads * head_dim + extra_columns};
    args_.out = {reinterpret_cast<std::byte*>(out_.data()), rows, heads.heads * head_dim};
    args_.heads = heads.heads;
    args_.kv_heads = heads.kv_heads;
    args_.head_dim = head_dim;
    args_.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    args_.sliding_window = sliding_window;
    args_.sequences = sequences_;
    ranges_.assign(heads.kv_heads, kTestRange);
    for (AttentionSequence& sequence : sequences_) {
      sequence.k_ranges = sequence.v_ranges = ranges_;
    }
  }

  // Queries of sequence i come from seeds[i], whatever else is in the step.
  void FillQueries(std::span<const uint32_t> seeds) {
    for (size_t i = 0; i < sequences_.size(); ++i) {
      std::mt19937 rng(seeds[i]);
      std::normal_distribution<float> normal(0.0f, 2.0f);
      float* q = row_q(i, 0);
      for (int j = 0; j < sequences_[i].num_rows * args_.q.cols; ++j) q[j] = normal(rng);
    }
  }

  void Run(Isa isa, int threads) {
    ThreadPool pool(threads);
    std::fill(out_.begin(), out_.end(), std::numeric_limits<float>::quiet_NaN());
    AttentionKernel::Create(isa, &pool)->Run(args_);
  }

  void ExpectMatchesOracle(Isa isa) const {
    const int group = args_.heads / args_.kv_heads;
    double worst = 0.0;
    for (size_t s = 0; s < queries_.size(); ++s) {
      for (int i = 0; i < queries_[s].rows; ++i) {
        const int position = sequences_[s].first_position + i;
        for (int h = 0; h < args_.heads; ++h) {
          const OracleRow want = Oracle(*queries_[s].sequence, row_q(s, i) + h * args_.head_dim,
                                        h / group, position, args_);
          const double tolerance = Tolerance(isa, queries_[s].decode, want);
          const float* got = row_out(s, i) + h * args_.head_dim;
          for (int c = 0; c < args_.head_dim; ++c) {
            const double error = std::abs(got[c] - want.out[c]) / tolerance;
            if (!(error <= worst)) worst = error;
            ASSERT_LE(error, 1.0) << "sequence " << s << " position " << position << " head " << h
                                  << " channel " << c << ": " << got[c] << " for " << want.out[c];
          }
        }
      }
    }
    testing::Test::RecordProperty("worst_error_of_tolerance", std::to_string(worst));
  }

  std::span<const float> out_of(size_t sequence) const {
    return {row_out(sequence, 0), static_cast<size_t>(queries_[sequence].rows) * args_.out.cols};
  }
  AttentionArgs& args() { return args_; }

 private:
  // A score error of e changes the output by at most 2 e max|v|; what is left is the rounding of
  // probabilities and values.
  double Tolerance(Isa isa, bool decode, const OracleRow& row) const {
    constexpr double kFloatUlp = 0x1p-24;
    if (isa == Isa::kAmx && !decode) {
      // q and quantized k are rounded to bf16 (2^-9 relative each), errors independent from term to
      // term: five standard deviations of uniform rounding errors of the largest score. Then p and
      // v are rounded as well.
      const double score = 5.0 / std::sqrt(3.0) * std::sqrt(2.0) * 0x1p-9 * row.max_term_norm;
      return row.max_value * (2.0 * score + 2 * 0x1p-9);
    }
    // head_dim sums in any order, the largest partial sum is below the sum of magnitudes; sqrt for
    // independent errors, times five. Codes are up to 255 where values are centred: factor 4.
    const double sums = 5.0 * std::sqrt(static_cast<double>(args_.head_dim)) * kFloatUlp;
    return row.max_value * (2.0 * 4.0 * sums * row.max_term_sum + 2e-6);
  }

  float* row_q(size_t sequence, int row) {
    return q_.data() + static_cast<size_t>(sequences_[sequence].first_row + row) * args_.q.cols;
  }
  const float* row_q(size_t sequence, int row) const {
    return const_cast<Step*>(this)->row_q(sequence, row);
  }
  const float* row_out(size_t sequence, int row) const {
    return out_.data() + static_cast<size_t>(sequences_[sequence].first_row + row) * args_.out.cols;
  }

  std::vector<Query> queries_;
  std::vector<AttentionSequence> sequences_;
  std::vector<float> q_, out_;
  std::vector<kv::StaticRange> ranges_;
  AttentionArgs args_;
};

struct Case {
  const char* k_codec = "bf16";
  const char* v_codec = "bf16";
  int head_dim = 64;
  Heads heads = {9, 3};
  int sink_tokens = 0;
  int recent_blocks = 0;
  int sliding_window = 0;
};

void PrintTo(const Case& c, std::ostream* os) {
  *os << c.k_codec << "/" << c.v_codec << " d" << c.head_dim << " heads " << c.heads.heads << "/"
      << c.heads.kv_heads << " sink " << c.sink_tokens << " recent " << c.recent_blocks
      << " window " << c.sliding_window;
}

class AttentionTest : public testing::TestWithParam<Case> {
 protected:
  CacheShape Shape() const {
    const Case& c = GetParam();
    return {.kv_heads = c.heads.kv_heads,
            .head_dim = c.head_dim,
            .codecs = {Codec(c.k_codec), Codec(c.v_codec)},
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
