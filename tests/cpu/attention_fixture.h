// Sequences in a paged cache for tests: extents at shuffled addresses, unwritten slots full of NaN,
// and beside them the decoded values, from which a double-precision attention computes the truth.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "engine/base/float16.h"
#include "engine/kv/block_layout.h"
#include "engine/kv/codec.h"
#include "engine/ops/backend.h"

namespace kvpareto::cpu {

struct CacheShape {
  int kv_heads = 1;
  int head_dim = 64;
  kv::LayerCodecs codecs = {};                  // of full blocks
  kv::CodecId open_codec = kv::CodecId::kBf16;  // of the open block and sinks
  int sink_tokens = 0;
  int recent_blocks = 0;   // full blocks before the open one that are still open
  int first_position = 0;  // of the first token; the ones before it are not in the cache
  float poison = 0.0f;     // if not 0: what every 7th element of K and V is
};

inline constexpr kv::StaticRange kTestRange = {-3.0f, 3.5f};

// One layer of one sequence.
class CachedSequence {
 public:
  CachedSequence(const CacheShape& shape, int length, uint32_t seed) : shape_(shape) {
    const std::vector<kv::LayerCodecs> layer = {shape.codecs};
    sealed_ = kv::BlockLayout(layer, shape.kv_heads, shape.head_dim);
    open_ = kv::BlockLayout::Open(shape.open_codec, 1, shape.kv_heads, shape.head_dim);
    if (shape.sink_tokens > 0) {
      sink_ = kv::BlockLayout::Open(shape.open_codec, 1, shape.kv_heads, shape.head_dim,
                                    (shape.sink_tokens + 15) / 16 * 16);
    }
    std::mt19937 rng(seed);
    k_ = Random(length, rng);
    v_ = Random(length, rng);
    source_k_ = k_;
    source_v_ = v_;
    Allocate(length, rng);
    for (KvSpan& span : spans_) Write(span);
    for (KvSpan& span : spans_) span.first_position += shape.first_position;
  }

  std::span<const KvSpan> spans() const { return spans_; }
  int length() const { return static_cast<int>(k_.size()) / shape_.kv_heads / shape_.head_dim; }
  int first_position() const { return shape_.first_position; }
  int end_position() const { return first_position() + length(); }
  // The decoded K (V) vector of a token, counted from the first in the cache: [head_dim].
  const float* k(int head, int token) const { return &k_[Offset(head, token)]; }
  const float* v(int head, int token) const { return &v_[Offset(head, token)]; }
  // What was encoded, but for rounding to the open codec.
  const float* source_k(int head, int token) const { return &source_k_[Offset(head, token)]; }
  const float* source_v(int head, int token) const { return &source_v_[Offset(head, token)]; }
  const kv::LayerCodecs& codecs() const { return shape_.codecs; }

 private:
  struct Extent {
    const kv::BlockLayout* layout;
    int tokens;
  };

  size_t Offset(int head, int token) const {
    return (static_cast<size_t>(token) * shape_.kv_heads + head) * shape_.head_dim;
  }

  // Values that the open codec keeps exactly, [tokens, kv_heads, head_dim].
  std::vector<float> Random(int tokens, std::mt19937& rng) const {
    std::normal_distribution<float> normal;
    std::vector<float> x(Offset(0, tokens));
    for (float& value : x) {
      value = normal(rng);
      if (shape_.open_codec == kv::CodecId::kBf16) value = Bf16ToFloat(FloatToBf16(value));
    }
    for (size_t i = 0; shape_.poison != 0.0f && i < x.size(); i += 7) x[i] = shape_.poison;
    return x;
  }

  void Allocate(int length, std::mt19937& rng) {
    std::vector<Extent> extents;
    int left = length;
    if (shape_.sink_tokens > 0 && left > 0) {
      extents.push_back({&sink_, std::min(left, shape_.sink_tokens)});
      left -= extents.back().tokens;
    }
    const int full = left / kv::kBlockTokens;
    for (int i = 0; i < full; ++i) {
      extents.push_back({i < full - shape_.recent_blocks ? &sealed_ : &open_, kv::kBlockTokens});
    }
    if (left % kv::kBlockTokens > 0) extents.push_back({&open_, left % kv::kBlockTokens});

    std::vector<size_t> order(extents.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), rng);
    std::vector<size_t> offsets(extents.size());
    size_t bytes = 0;
    for (size_t i : order) {
      offsets[i] = bytes;
      bytes += extents[i].layout->bytes();
    }
    // 0xff bytes: NaN as bf16 and as float.
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kv::kRegionAlignment, bytes + 128)));
    std::memset(memory_.get(), 0xff, bytes);
    int position = 0;
    for (size_t i = 0; i < extents.size(); ++i) {
      spans_.push_back({.data = memory_.get() + offsets[i],
                        .layout = &extents[i].layout->layer(0),
                        .num_tokens = extents[i].tokens,
                        .first_position = position});
      position += extents[i].tokens;
    }
  }

  // Stores the span's tokens and replaces k_ and v_ by what decoding them gives.
  void Write(const KvSpan& span) {
    for (int h = 0; h < shape_.kv_heads; ++h) {
      const kv::LayerLayout& layout = *span.layout;
      WriteTile(span, kv::Role::kKey, layout.k_codec,
                span.data + layout.k_offset + h * layout.k_tile_bytes, h, k_);
      WriteTile(span, kv::Role::kValue, layout.v_codec,
                span.data + layout.v_offset + h * layout.v_tile_bytes, h, v_);
    }
  }

  void WriteTile(const KvSpan& span, kv::Role role, kv::CodecId codec, std::byte* tile, int head,
                 std::vector<float>& values) {
    const int d = shape_.head_dim;
    if (kv::GetCodecInfo(codec).can_be_open) {
      for (int t = 0; t < span.num_tokens; ++t) {
        for (int c = 0; c < d; ++c) {
          float& x = values[Offset(head, span.first_position + t) + c];
          const int element =
              kv::ElementIndex(role, span.first_slot + t, c, span.layout->tile_tokens, d);
          if (codec == kv::CodecId::kF32) {
            reinterpret_cast<float*>(tile)[element] = x;
          } else {
            reinterpret_cast<uint16_t*>(tile)[element] = FloatToBf16(x);
            x = Bf16ToFloat(FloatToBf16(x));
          }
        }
      }
      return;
    }
    std::vector<float> rows(static_cast<size_t>(kv::kBlockTokens) * d);
    for (int t = 0; t < kv::kBlockTokens; ++t) {
      std::copy_n(&values[Offset(head, span.first_position + t)], d, &rows[t * d]);
    }
    kv::EncodeTile(codec, role, d, kTestRange, rows.data(), tile);
    kv::DecodeTile(codec, role, d, kTestRange, tile, rows.data());
    for (int t = 0; t < kv::kBlockTokens; ++t) {
      std::copy_n(&rows[t * d], d, &values[Offset(head, span.first_position + t)]);
    }
  }

  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };

  CacheShape shape_;
  kv::BlockLayout sealed_, open_, sink_;
  std::vector<float> k_, v_;  // decoded: [tokens, kv_heads, head_dim]
  std::vector<float> source_k_, source_v_;
  std::unique_ptr<std::byte, Free> memory_;
  std::vector<KvSpan> spans_;
};

// The truth for one query row of one head, and what bounds the error of computing it.
struct OracleRow {
  std::vector<double> out;  // [head_dim]
  // Over the visible keys: the largest sum and root of the sum of squares of the terms of
  // q . k * scale, and the largest |value|.
  double max_term_sum = 0.0;
  double max_term_norm = 0.0;
  double max_value = 0.0;
  // Root of the sum of squares of the key bias term's factors times scale.
  double bias_norm = 0.0;
};

struct OracleQuery {
  const float* q = nullptr;     // [head_dim]
  const float* bias = nullptr;  // [A | B] or null
};

// sum_i A_i cos(p f_i) + B_i sin(p f_i) at RoPE's angles, which are floats.
inline double KeyBiasTerm(const float* bias, int position, std::span<const float> frequencies) {
  double sum = 0.0;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float angle = static_cast<float>(position) * frequencies[i];
    sum +=
        bias[i] * std::cos(double{angle}) + bias[i + frequencies.size()] * std::sin(double{angle});
  }
  return sum;
}

// Attention over keys and values as they are in the cache, or as they were before.
inline OracleRow OracleOf(const CachedSequence& sequence, bool decoded, const OracleQuery& query,
                          int kv_head, int position, const AttentionArgs& args) {
  OracleRow row;
  row.out.assign(args.head_dim, 0.0);
  for (int c = 0; query.bias != nullptr && c < args.head_dim; ++c) {
    const double factor = std::abs(double{query.bias[c]} * args.scale);
    row.bias_norm += factor * factor;
  }
  row.bias_norm = std::sqrt(row.bias_norm);
  const int base = sequence.first_position();
  const int first = args.sliding_window > 0 ? position - args.sliding_window + 1 : base;
  const int begin = std::max(base, first) - base;
  const int end = position + 1 - base;
  std::vector<double> scores;
  for (int t = begin; t < end; ++t) {
    const float* k = decoded ? sequence.k(kv_head, t) : sequence.source_k(kv_head, t);
    double score = 0.0, sum = 0.0, squares = 0.0;
    for (int c = 0; c < args.head_dim; ++c) {
      const double term = double{query.q[c]} * k[c] * args.scale;
      score += term;
      sum += std::abs(term);
      squares += term * term;
    }
    if (query.bias != nullptr) {
      score += KeyBiasTerm(query.bias, base + t, args.inverse_frequency) * args.scale;
    }
    scores.push_back(score);
    row.max_term_sum = std::max(row.max_term_sum, sum);
    row.max_term_norm = std::max(row.max_term_norm, std::sqrt(squares));
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  double total = 0.0;
  for (double& score : scores) total += score = std::exp(score - max);
  for (int t = begin; t < end; ++t) {
    const float* v = decoded ? sequence.v(kv_head, t) : sequence.source_v(kv_head, t);
    for (int c = 0; c < args.head_dim; ++c) {
      row.out[c] += scores[t - begin] / total * v[c];
      row.max_value = std::max(row.max_value, std::abs(double{v[c]}));
    }
  }
  return row;
}

inline OracleRow Oracle(const CachedSequence& sequence, const OracleQuery& query, int kv_head,
                        int position, const AttentionArgs& args) {
  return OracleOf(sequence, true, query, kv_head, position, args);
}

// Mean square, over the channels, of what the codecs add to the output.
inline double CodecError(const CachedSequence& sequence, const OracleQuery& query, int kv_head,
                         int position, const AttentionArgs& args) {
  const OracleRow decoded = OracleOf(sequence, true, query, kv_head, position, args);
  const OracleRow source = OracleOf(sequence, false, query, kv_head, position, args);
  double squares = 0.0;
  for (int c = 0; c < args.head_dim; ++c) {
    squares += (decoded.out[c] - source.out[c]) * (decoded.out[c] - source.out[c]);
  }
  return squares / args.head_dim;
}

}  // namespace kvpareto::cpu
