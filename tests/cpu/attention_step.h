// A step of attention for tests: random queries over some sequences, and the comparison of its
// outputs with the truth.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "engine/cpu/attention.h"
#include "tests/cpu/attention_fixture.h"
#include "tests/cpu/available_isas.h"

namespace kvpareto::cpu {

inline kv::CodecId Codec(std::string_view name) {
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

// The most that rounding to bytes adds to any channel of an output, of the mean that the codecs
// add. A tenth to a seventh of it is usual.
inline constexpr double kByteErrors = 0.8;

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
                            .first_position = query.sequence->end_position() - query.rows,
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

  // Every sequence gets a key bias: random queries of elements of this size.
  void AddKeyBias(float size, std::span<const float> inverse_frequency) {
    bias_size_ = size;
    bias_query_.resize(static_cast<size_t>(args_.q.rows) * args_.heads * args_.head_dim);
    args_.bias_query = {reinterpret_cast<std::byte*>(bias_query_.data()), args_.q.rows,
                        args_.heads * args_.head_dim};
    args_.inverse_frequency = inverse_frequency;
    for (AttentionSequence& sequence : sequences_) sequence.key_bias = true;
  }

  void ClearKeyBias(size_t sequence) { sequences_[sequence].key_bias = false; }

  // Queries of sequence i come from seeds[i], whatever else is in the step.
  void FillQueries(std::span<const uint32_t> seeds) {
    for (size_t i = 0; i < sequences_.size(); ++i) {
      std::mt19937 rng(seeds[i]);
      std::normal_distribution<float> normal(0.0f, 2.0f);
      float* q = row_q(i, 0);
      for (int j = 0; j < sequences_[i].num_rows * args_.q.cols; ++j) q[j] = normal(rng);
      if (!sequences_[i].key_bias) continue;
      float* bias =
          bias_query_.data() + static_cast<size_t>(sequences_[i].first_row) * args_.bias_query.cols;
      std::normal_distribution<float> bias_normal(0.0f, bias_size_);
      for (int j = 0; j < sequences_[i].num_rows * args_.bias_query.cols; ++j) {
        bias[j] = bias_normal(rng);
      }
    }
  }

  // One channel of every query is not 0, another one for each head: rounding loses nothing of its
  // products with keys' codes, nor with values' where a single key is visible.
  void FillOneHotQueries(float size) {
    std::fill(q_.begin(), q_.end(), 0.0f);
    for (int row = 0; row < args_.q.rows; ++row) {
      for (int h = 0; h < args_.heads; ++h) {
        const int channel = (11 * row + 5 * h + 3) % args_.head_dim;
        q_[static_cast<size_t>(row) * args_.q.cols + h * args_.head_dim + channel] = size;
      }
    }
    exact_factors_ = true;
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
      const double rounding = RoundingError(isa, s);
      for (int i = 0; i < queries_[s].rows; ++i) {
        const int position = sequences_[s].first_position + i;
        for (int h = 0; h < args_.heads; ++h) {
          const float* bias =
              sequences_[s].key_bias ? row_bias(s, i) + h * args_.head_dim : nullptr;
          const OracleRow want =
              Oracle(*queries_[s].sequence, {row_q(s, i) + h * args_.head_dim, bias}, h / group,
                     position, args_);
          const double tolerance = Tolerance(isa, queries_[s].decode, want) + rounding;
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
    if (PrefillsInBf16(isa) && !decode) {
      // q and quantized k are rounded to bf16 (2^-9 relative each), errors independent from term to
      // term: five standard deviations of uniform rounding errors of the largest score. Then p and
      // v are rounded as well.
      // Of the key bias term three products of rounded parts are left out or rounded, 2^-18 each.
      const double score = 5.0 / std::sqrt(3.0) * std::sqrt(2.0) * 0x1p-9 * row.max_term_norm +
                           5.0 * 0x1p-18 * row.bias_norm;
      return row.max_value * (2.0 * score + 2 * 0x1p-9);
    }
    // head_dim sums in any order, the largest partial sum is below the sum of magnitudes; sqrt for
    // independent errors, times five. Codes are up to 255 where values are centred: factor 4.
    const double sums = 5.0 * std::sqrt(static_cast<double>(args_.head_dim)) * kFloatUlp;
    // The bias term's factors have random signs, so their partial sums are as large as their norm;
    // a cosine's error is below 2e-7 (elementwise_avx512.cc).
    const double bias = (sums + 3 * 2e-7) * row.bias_norm;
    return row.max_value * (2.0 * (4.0 * sums * row.max_term_sum + bias) + 2e-6);
  }

  // Decode rounds what codes of up to 4 bits are multiplied with to bytes: what that adds is a
  // fraction of what the codes do, root of the mean square over the heads and channels of the row.
  double RoundingError(Isa isa, size_t s) const {
    const Query& query = queries_[s];
    const auto bytes = [](kv::CodecId codec) { return kv::GetCodecInfo(codec).bits <= 4; };
    const kv::LayerCodecs& codecs = query.sequence->codecs();
    const bool rounded =
        isa >= Isa::kAvx512 && query.decode && (bytes(codecs.k) || bytes(codecs.v));
    if (exact_factors_ || !rounded) return 0.0;
    double squares = 0.0;
    for (int h = 0; h < args_.heads; ++h) {
      const OracleQuery row = {
          row_q(s, 0) + h * args_.head_dim,
          sequences_[s].key_bias ? row_bias(s, 0) + h * args_.head_dim : nullptr};
      squares += CodecError(*query.sequence, row, h / (args_.heads / args_.kv_heads),
                            sequences_[s].first_position, args_);
    }
    return kByteErrors * std::sqrt(squares / args_.heads);
  }

  float* row_q(size_t sequence, int row) {
    return q_.data() + static_cast<size_t>(sequences_[sequence].first_row + row) * args_.q.cols;
  }
  const float* row_q(size_t sequence, int row) const {
    return const_cast<Step*>(this)->row_q(sequence, row);
  }
  const float* row_bias(size_t sequence, int row) const {
    return bias_query_.data() +
           static_cast<size_t>(sequences_[sequence].first_row + row) * args_.bias_query.cols;
  }
  const float* row_out(size_t sequence, int row) const {
    return out_.data() + static_cast<size_t>(sequences_[sequence].first_row + row) * args_.out.cols;
  }

  std::vector<Query> queries_;
  std::vector<AttentionSequence> sequences_;
  std::vector<float> q_, out_;
  std::vector<float> bias_query_;  // [rows, heads * head_dim] or empty
  float bias_size_ = 0.0f;
  bool exact_factors_ = false;
  std::vector<kv::StaticRange> ranges_;
  AttentionArgs args_;
};

}  // namespace kvpareto::cpu
