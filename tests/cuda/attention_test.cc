// Attention against double precision over the decoded tiles.
#include <algorithm>
#include <cmath>

#include "engine/cuda/attention_decode.h"
#include "engine/kv/codec_list.h"
#include "tests/cpu/attention_fixture.h"
#include "tests/cuda/cuda_fixture.h"

namespace kvpareto::cuda {
namespace {

using cpu::CachedSequence;
using cpu::CacheShape;
using cpu::OracleRow;

// A cached sequence in device memory, its extents in reverse order.
class DeviceSequence {
 public:
  DeviceSequence(Backend& gpu, const CachedSequence& host, int kv_heads)
      : spans_(host.spans().begin(), host.spans().end()) {
    size_t bytes = 0;
    std::vector<size_t> offsets(spans_.size());
    for (size_t i = spans_.size(); i-- > 0;) {
      offsets[i] = bytes;
      bytes += ExtentBytes(spans_[i], kv_heads);
    }
    memory_ = *gpu.Allocate(std::max<size_t>(bytes, 1));
    for (size_t i = 0; i < spans_.size(); ++i) {
      std::byte* to = memory_->data() + offsets[i];
      gpu.CopyFromHost(to, spans_[i].data, ExtentBytes(spans_[i], kv_heads));
      spans_[i].data = to;
    }
  }
  std::span<const KvSpan> spans() const { return spans_; }

 private:
  static size_t ExtentBytes(const KvSpan& span, int kv_heads) {
    return span.layout->v_offset + span.layout->v_tile_bytes * kv_heads;
  }
  std::vector<KvSpan> spans_;
  std::unique_ptr<DeviceBuffer> memory_;
};

struct Case {
  const char* k_codec = "bf16";
  const char* v_codec = "bf16";
  int head_dim = 64;
  int heads = 9;
  int kv_heads = 3;
  int sink_tokens = 0;
  int recent_blocks = 0;
  int sliding_window = 0;
  bool key_bias = false;
  int first_position = 0;  // the tokens before it are not in the cache
};

void PrintTo(const Case& c, std::ostream* os) {
  *os << c.k_codec << "/" << c.v_codec << " d" << c.head_dim << " heads " << c.heads << "/"
      << c.kv_heads << " sink " << c.sink_tokens << " recent " << c.recent_blocks << " window "
      << c.sliding_window << (c.key_bias ? " key bias" : "") << " from " << c.first_position;
}

// A sequence's part of a step.
struct Query {
  int length = 0;
  int rows = 0;  // the last `rows` tokens are queries
  bool decode = false;
  const Case* shape = nullptr;  // null: the step's
};

CacheShape ShapeOf(const Case& c) {
  return {.kv_heads = c.kv_heads,
          .head_dim = c.head_dim,
          .codecs = {*kv::FindCodec(c.k_codec), *kv::FindCodec(c.v_codec)},
          .sink_tokens = c.sink_tokens,
          .recent_blocks = c.recent_blocks,
          .first_position = c.first_position};
}

class Step {
 public:
  Step(Backend& gpu, const Case& shape, std::vector<Query> queries)
      : gpu_(gpu), shape_(shape), queries_(std::move(queries)) {
    ranges_.assign(shape.kv_heads, cpu::kTestRange);
    int rows = 0;
    for (const Query& query : queries_) {
      const Case& c = query.shape == nullptr ? shape_ : *query.shape;
      hosts_.push_back(std::make_unique<CachedSequence>(ShapeOf(c), query.length,
                                                        7 * query.length + hosts_.size()));
      devices_.push_back(std::make_unique<DeviceSequence>(gpu, *hosts_.back(), c.kv_heads));
      sequences_.push_back({.first_row = rows,
                            .num_rows = query.rows,
                            .first_position = c.first_position + query.length - query.rows,
                            .spans = devices_.back()->spans(),
                            .k_ranges = ranges_,
                            .v_ranges = ranges_,
                            .key_bias = shape.key_bias});
      rows += query.rows;
      (query.decode ? args_.split.decode_rows : args_.split.prefill_rows) += query.rows;
    }
    q_cols_ = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    q_ = RandomFloats(size_t(rows) * q_cols_, 5, 2.0f);
    bias_q_ = RandomFloats(size_t(rows) * shape.heads * shape.head_dim, 6);
    for (int i = 0; i < shape.head_dim / 2; ++i) {
      frequency_.push_back(std::pow(10000.0f, -2.0f * i / shape.head_dim));
    }
    args_.inverse_frequency = frequency_;
    args_.heads = shape.heads;
    args_.kv_heads = shape.kv_heads;
    args_.head_dim = shape.head_dim;
    args_.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    args_.sliding_window = shape.sliding_window;
    args_.sequences = sequences_;
  }

  void ScaleQueries(float factor) {
    for (float& x : q_) x *= factor;
  }

  std::vector<float> Run() {
    const int rows = static_cast<int>(q_.size()) / q_cols_;
    Matrix q(gpu_, q_, q_cols_);
    Matrix out(gpu_,
               std::vector<float>(size_t(rows) * shape_.heads * shape_.head_dim, std::nanf("")),
               shape_.heads * shape_.head_dim);
    Matrix bias_q(gpu_, bias_q_, shape_.heads * shape_.head_dim);
    args_.q = q.view();
    args_.out = out.view();
    args_.bias_query = bias_q.view();
    gpu_.Attention(args_);
    return out.Read();
  }

  // With `exact`, the bound of plain float arithmetic.
  void Check(bool exact) {
    const std::vector<float> out = Run();
    const int d = shape_.head_dim, group = shape_.heads / shape_.kv_heads;
    double worst = 0.0;
    for (size_t s = 0; s < queries_.size(); ++s) {
      // Some rows of long chunks: the oracle is slow.
      const int stride = std::max(1, queries_[s].rows / 40);
      for (int i = 0; i < queries_[s].rows; i += stride) {
        const int row = sequences_[s].first_row + i;
        for (int h = 0; h < shape_.heads; ++h) {
          const cpu::OracleQuery query = {
              .q = &q_[size_t(row) * q_cols_ + h * d],
              .bias = shape_.key_bias ? &bias_q_[(size_t(row) * shape_.heads + h) * d] : nullptr};
          const OracleRow want =
              Oracle(*hosts_[s], query, h / group, sequences_[s].first_position + i, args_);
          const double tolerance = Tolerance(want, queries_[s], exact);
          for (int c = 0; c < d; ++c) {
            const float got = out[(size_t(row) * shape_.heads + h) * d + c];
            const double error = std::abs(got - want.out[c]) / tolerance;
            if (!(error <= worst)) worst = error;
            ASSERT_LE(error, 1.0) << "sequence " << s << " length " << queries_[s].length << " row "
                                  << i << " head " << h << " channel " << c << ": " << got
                                  << " for " << want.out[c];
          }
        }
      }
    }
    testing::Test::RecordProperty("worst_error_of_tolerance", std::to_string(worst));
  }

 private:
  double Tolerance(const OracleRow& row, const Query& query, bool exact) const {
    const double float_sums = 20.0 * std::sqrt(double(shape_.head_dim)) * 0x1p-24 *
                              (row.max_term_sum + 4.0 * row.bias_norm);
    if (exact) return row.max_value * (2.0 * float_sums + 4e-6);
    if (query.decode && !IsDecodedFirst(query)) {
      // Queries are rounded to fp16 (2^-11 relative, independent from channel to channel). Codes
      // stand 1024 higher in the products, which costs ten bits of the float sums. Probabilities
      // are rounded to bf16 (2^-8 relative, independent from key to key).
      const double score = 512.0 * float_sums + 5.0 / std::sqrt(3.0) * 0x1p-11 * row.max_term_norm;
      return row.max_value * (2.0 * score + 0x1p-8 + 2e-5);
    }
    // Prefill, and decode of tiles that no kernel reads: q, k, p and v are rounded to bf16.
    const double score = 5.0 / std::sqrt(3.0) * std::sqrt(2.0) * 0x1p-8 * row.max_term_norm;
    return row.max_value * (2.0 * score + 2.0 * 0x1p-8);
  }

  bool IsDecodedFirst(const Query& query) const {
    const kv::LayerCodecs codecs = ShapeOf(query.shape == nullptr ? shape_ : *query.shape).codecs;
    return !HasDecodeKernel(codecs.k, codecs.v, shape_.head_dim);
  }

  Backend& gpu_;
  const Case shape_;
  std::vector<Query> queries_;
  std::vector<std::unique_ptr<CachedSequence>> hosts_;
  std::vector<std::unique_ptr<DeviceSequence>> devices_;
  std::vector<AttentionSequence> sequences_;
  std::vector<kv::StaticRange> ranges_;
  std::vector<float> q_, bias_q_, frequency_;
  int q_cols_ = 0;
  AttentionArgs args_;
};

class AttentionTest : public CudaTest, public testing::WithParamInterface<Case> {};

// Every length class in one step.
TEST_P(AttentionTest, DecodeMatchesOracle) {
  std::vector<Query> queries;
  for (const int length : {1, 2, 17, 63, 64, 65, 200, 1024 + 64 + 1, 2500}) {
    queries.push_back({.length = length, .rows = 1, .decode = true});
  }
  Step(*Gpu(), GetParam(), queries).Check(false);
}

std::vector<Query> PrefillQueries() {
  std::vector<Query> queries;
  for (const auto& [length, rows] :
       {std::pair(1, 1), std::pair(65, 65), std::pair(127, 127), std::pair(129, 2),
        std::pair(200, 33), std::pair(256, 256), std::pair(300, 300), std::pair(700, 130)}) {
    queries.push_back({.length = length, .rows = rows});
  }
  return queries;
}

TEST_P(AttentionTest, PrefillMatchesOracle) {
  Step(*Gpu(), GetParam(), PrefillQueries()).Check(false);
}

constexpr Case kCases[] = {
    {},
    {.head_dim = 128, .heads = 8, .kv_heads = 2},
    {.head_dim = 128, .heads = 14, .kv_heads = 2, .sink_tokens = 16},
    {.head_dim = 80, .heads = 4, .kv_heads = 4},
    {.head_dim = 256, .heads = 4, .kv_heads = 1},
    {.head_dim = 128, .heads = 24, .kv_heads = 2},
    {.head_dim = 64, .sliding_window = 100},
    {.head_dim = 128, .heads = 8, .kv_heads = 2, .sliding_window = 70, .first_position = 200},
    {.head_dim = 64, .heads = 4, .kv_heads = 4, .first_position = 77},
    {.k_codec = "f32", .v_codec = "f32"},
    {.k_codec = "int4-token", .v_codec = "int4-token", .key_bias = true},
    {.k_codec = "int8-token", .v_codec = "int8-token"},
    {.k_codec = "int8-channel", .v_codec = "int8-token", .sink_tokens = 16, .recent_blocks = 2},
    {.k_codec = "int4-token", .v_codec = "int4-token"},
    {.k_codec = "int4-channel", .v_codec = "int4-token", .sink_tokens = 16, .recent_blocks = 2},
    {.k_codec = "int2-channel", .v_codec = "int2-token", .sink_tokens = 20},
    {.k_codec = "int8-token", .v_codec = "int8-token", .head_dim = 128, .heads = 8, .kv_heads = 2},
    {.k_codec = "int8-channel",
     .v_codec = "int8-token",
     .head_dim = 128,
     .heads = 8,
     .kv_heads = 2},
    {.k_codec = "int8-channel",
     .v_codec = "int4-token",
     .head_dim = 128,
     .heads = 8,
     .kv_heads = 2,
     .sink_tokens = 16},
    {.k_codec = "int8-token", .v_codec = "int4-token", .head_dim = 128, .heads = 8, .kv_heads = 2},
    {.k_codec = "int4-token", .v_codec = "int4-token", .head_dim = 128, .heads = 8, .kv_heads = 2},
    {.k_codec = "int4-channel",
     .v_codec = "int4-token",
     .head_dim = 128,
     .heads = 8,
     .kv_heads = 2},
    {.k_codec = "int4-channel",
     .v_codec = "int4-token",
     .head_dim = 128,
     .heads = 28,
     .kv_heads = 4,
     .sink_tokens = 16,
     .recent_blocks = 3},
    {.k_codec = "int4-channel",
     .v_codec = "int4-token",
     .head_dim = 128,
     .heads = 24,
     .kv_heads = 2},
    {.k_codec = "int4-channel",
     .v_codec = "int4-token",
     .head_dim = 128,
     .heads = 8,
     .kv_heads = 2,
     .sliding_window = 333},
    {.k_codec = "int4-channel",
     .v_codec = "int2-token",
     .head_dim = 128,
     .heads = 8,
     .kv_heads = 2},
    {.k_codec = "int4-token", .v_codec = "int2-token", .head_dim = 128, .heads = 8, .kv_heads = 2},
    {.k_codec = "int8-token", .v_codec = "int2-token", .head_dim = 128, .heads = 8, .kv_heads = 2},
    {.k_codec = "int2-token", .v_codec = "int2-token", .head_dim = 128, .heads = 8, .kv_heads = 2},
    {.k_codec = "int2-channel",
     .v_codec = "int2-token",
     .head_dim = 128,
     .heads = 8,
     .kv_heads = 2},
    {.k_codec = "int4-token-g32", .v_codec = "int4-token-g64"},
    {.k_codec = "int8-block", .v_codec = "int4-block"},
    {.k_codec = "int8-tensor", .v_codec = "int4-tensor"},
    {.k_codec = "int4-dual", .v_codec = "int4-dual"},
    {.k_codec = "fp8-e4m3", .v_codec = "fp8-e4m3"},
    {.k_codec = "int4-token-g64-smooth", .v_codec = "int4-token-g64"},
    {.k_codec = "int6-channel",
     .v_codec = "int6-token",
     .head_dim = 128,
     .heads = 24,
     .kv_heads = 2},
    {.k_codec = "int3-channel", .v_codec = "int3-token", .sink_tokens = 20},
    {.k_codec = "int4-channel", .v_codec = "int2-token-g32", .recent_blocks = 2},
    {.k_codec = "int6-channel",
     .v_codec = "int3-token",
     .head_dim = 128,
     .heads = 8,
     .kv_heads = 2},
    {.k_codec = "bf16", .v_codec = "int4-token", .sink_tokens = 16, .recent_blocks = 2},
    {.k_codec = "int6-channel",
     .v_codec = "bf16",
     .head_dim = 128,
     .heads = 28,
     .kv_heads = 4,
     .sliding_window = 333},
};
INSTANTIATE_TEST_SUITE_P(Codecs, AttentionTest, testing::ValuesIn(kCases));

class MixedAttentionTest : public CudaTest {};

// Several KV configs, decode and prefill rows in one step.
TEST_F(MixedAttentionTest, ConfigsInOneStep) {
  static constexpr Case kBase = {.head_dim = 128, .heads = 8, .kv_heads = 2};
  static constexpr Case kInt8 = {.k_codec = "int8-token",
                                 .v_codec = "int8-token",
                                 .head_dim = 128,
                                 .heads = 8,
                                 .kv_heads = 2,
                                 .sink_tokens = 16};
  static constexpr Case kInt4 = {.k_codec = "int4-channel",
                                 .v_codec = "int4-token",
                                 .head_dim = 128,
                                 .heads = 8,
                                 .kv_heads = 2};
  static constexpr Case kOdd = {.k_codec = "int4-block",
                                .v_codec = "int8-token-g32",
                                .head_dim = 128,
                                .heads = 8,
                                .kv_heads = 2};
  std::vector<Query> queries;
  for (const Case* shape : {&kInt4, &kBase, &kOdd, &kInt8, &kInt4}) {
    queries.push_back({.length = 700 + static_cast<int>(queries.size()) * 61,
                       .rows = 1,
                       .decode = true,
                       .shape = shape});
  }
  for (const Case* shape : {&kInt8, &kOdd, &kBase}) {
    queries.push_back({.length = 300, .rows = 70, .shape = shape});
  }
  Step(*Gpu(), kBase, queries).Check(false);
}

// Without what only Hopper has.
TEST_F(MixedAttentionTest, PrefillOfOlderDevices) {
  static constexpr Case kShapes[] = {
      {},
      {.head_dim = 128, .heads = 14, .kv_heads = 2, .sink_tokens = 16},
      {.head_dim = 128, .heads = 8, .kv_heads = 2, .sliding_window = 70, .first_position = 200},
      {.k_codec = "int4-channel",
       .v_codec = "int8-token",
       .head_dim = 128,
       .heads = 8,
       .kv_heads = 2,
       .sink_tokens = 20,
       .recent_blocks = 2},
  };
  for (const Case& shape : kShapes) {
    SCOPED_TRACE(testing::PrintToString(shape));
    ASSERT_NO_FATAL_FAILURE(Step(*OlderGpu(), shape, PrefillQueries()).Check(false));
  }
}

// Maxima that rise by more than what weights may exceed 1 by, again and again.
TEST_F(MixedAttentionTest, PrefillOfRisingScores) {
  static constexpr Case kShape = {.head_dim = 128, .heads = 8, .kv_heads = 2};
  Step step(*Gpu(), kShape, {{.length = 1300, .rows = 140}});
  step.ScaleQueries(20.0f);
  step.Check(false);
}

// Codes of every width in every place of a tile, parameters of every granularity.
TEST_F(MixedAttentionTest, EveryPairThatHasADecodeKernel) {
  int pairs = 0;
  for (const int head_dim : {64, 128}) {
    for (int k = 0; k < kv::CodecList::kSize; ++k) {
      for (int v = 0; v < kv::CodecList::kSize; ++v) {
        const kv::LayerCodecs codecs = {kv::CodecId(k), kv::CodecId(v)};
        if (!HasDecodeKernel(codecs.k, codecs.v, head_dim)) continue;
        const std::string k_name(kv::GetCodecInfo(codecs.k).name);
        const std::string v_name(kv::GetCodecInfo(codecs.v).name);
        const Case shape = {.k_codec = k_name.c_str(),
                            .v_codec = v_name.c_str(),
                            .head_dim = head_dim,
                            .heads = 14,
                            .kv_heads = 2,
                            .sink_tokens = 16,
                            .sliding_window = head_dim == 64 ? 700 : 0};
        SCOPED_TRACE(testing::PrintToString(shape));
        Step step(*Gpu(), shape,
                  {{.length = 1000, .rows = 1, .decode = true},
                   {.length = 65 + 16, .rows = 1, .decode = true}});
        ASSERT_NO_FATAL_FAILURE(step.Check(false));
        ++pairs;
      }
    }
  }
  EXPECT_GE(pairs, 2 * 18);
}

// A row's result depends on its own sequence only.
TEST_F(MixedAttentionTest, DecodeDoesNotDependOnTheBatch) {
  for (const char* k_codec : {"int4-channel", "int4-block"}) {
    const Case shape = {
        .k_codec = k_codec, .v_codec = "int4-token", .head_dim = 128, .heads = 8, .kv_heads = 2};
    std::vector<Query> queries = {{.length = 1500, .rows = 1, .decode = true}};
    const std::vector<float> alone = Step(*Gpu(), shape, queries).Run();
    for (int i = 0; i < 9; ++i) {
      queries.push_back({.length = 100 * i + 7, .rows = 1, .decode = true});
    }
    std::vector<float> together = Step(*Gpu(), shape, queries).Run();
    together.resize(alone.size());
    EXPECT_EQ(alone, together) << k_codec;
  }
}

}  // namespace
}  // namespace kvpareto::cuda
