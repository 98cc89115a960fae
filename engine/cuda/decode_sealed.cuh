// A warp's share of sealed tiles of integer codes, dequantized in registers.
//
// Codes enter the products as fp16 numbers 1024 + code * 2^shift, made by one byte permutation and
// one mask: the pair of codes of two neighbouring elements (tile.h) is one register of an A
// operand. Scales and zero points stay outside:
//   keys per token:    s . (sum q (code - z)) = s (sum q code - z sum q)
//   keys per channel:  the query is multiplied by the channels' scales, tile by tile
//   values per token:  the probability is multiplied by the token's scale
// The 1024 and the shift come off the sums. Queries are fp16 in two parts, rounded and rest.
#pragma once

#include "engine/cuda/decode_open.cuh"
#include "engine/kv/codec_list.h"

namespace kvpareto::cuda {

// Two neighbouring codes of `word`: bytes 2 half and 2 half + 1, the code that begins at bit kShift
// of each.
template <int kBits, int kShift>
__device__ __forceinline__ uint32_t ExpandCodes(uint32_t word, int half) {
  const uint32_t spread = __byte_perm(word, 0x64646464u, half == 0 ? 0x4140 : 0x4342);
  if constexpr (kBits == 8) return spread;
  constexpr uint32_t kMask = ((1u << kBits) - 1) << kShift;
  return spread & (0xff00ff00u | kMask | kMask << 16);
}
constexpr float kCodeBias = 1024.0f;

// The keys of a lane: row g of score tile i is token TokenOf(i, g), kBits in a row per lane and
// code of a byte.
template <int kBits>
struct TokenOrder {
  static constexpr int kBytes = 2 * kBits;  // of a lane in a row of keys
  static constexpr int kPerByte = 8 / kBits;
  // First of the kBits tokens whose codes begin at bit `sub * kBits` of row g's bytes.
  static __device__ __forceinline__ int First(int sub, int g) {
    const int unit = g * kBytes / 32, in_unit = g * kBytes % 32;
    return unit * (128 / kBits) + sub * 16 + in_unit / 2;
  }
  static __device__ __forceinline__ int TokenOf(int i, int g) {
    return First(i / kBits, g) + i % kBits;
  }
};

// The fp16 or int16 parameters of a lane's eight tokens.
template <int kBits>
struct TokenParams {
  static constexpr int kWords = kBits / 2;
  uint32_t raw[8 / kBits][kWords];

  __device__ __forceinline__ void Load(const std::byte* from, int g) {
#pragma unroll
    for (int sub = 0; sub < 8 / kBits; ++sub) {
      LoadWords<kWords>(from + 2 * TokenOrder<kBits>::First(sub, g), raw[sub]);
    }
  }
  __device__ __forceinline__ float AsF16(int i) const {
    const float2 pair = UnpackF16(raw[i / kBits][i % kBits / 2]);
    return i % 2 == 0 ? pair.x : pair.y;
  }
  __device__ __forceinline__ float AsInt(int i) const {
    const uint32_t word = raw[i / kBits][i % kBits / 2];
    return static_cast<float>(static_cast<int16_t>(i % 2 == 0 ? word : word >> 16));
  }
};

// 16-bit parameters of a lane's channels: part q of the tile's channels.
template <int D>
struct ChannelParams {
  uint32_t raw[D / 8];
  __device__ __forceinline__ void Load(const std::byte* from, int q) {
    LoadWords<D / 8>(from + q * (D / 2), raw);
  }
};

// kChannel: keys per channel instead of per token.
template <int D, int kKeyBits, bool kChannel, int kValueBits>
class SealedReader {
 public:
  static constexpr int kSteps = D / 16;
  using Keys = std::conditional_t<kChannel, kv::IntCodec<kKeyBits, kv::PerChannel>,
                                  kv::IntCodec<kKeyBits, kv::PerToken<0>>>;
  using Values = kv::IntCodec<kValueBits, kv::PerToken<0>>;
  using Order = TokenOrder<kKeyBits>;
  // Codes of a lane in a row of keys or values.
  static constexpr int kKeyWords = kKeyBits / 2;
  static constexpr int kValueWords = D * kValueBits / 128;
  static constexpr int kLoadWords = kValueWords < 4 ? kValueWords : 4;

  __device__ SealedReader(const QueryTile<D>& queries, int lane)
      : queries_(queries), g_(lane / 4), q_(lane % 4) {
    if constexpr (!kChannel) {
      float sum = 0.0f;
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        for (int half = 0; half < 2; ++half) {
          sum +=
              Split(queries.Pair(g_, q_, 2 * s + half), query_[s].high[half], query_[s].low[half]);
        }
      }
      query_sum_ = SumsOfQueries(sum, q_);
    }
  }

  __device__ void Run(const std::byte* const* tiles, int first, int count,
                      const DecodeSequence& sequence, int kv_head, int warp,
                      DecodeState<D>& state) {
    const size_t k_at = sequence.sealed.k_offset + size_t(kv_head) * sequence.sealed.k_stride;
    const size_t v_at = sequence.sealed.v_offset + size_t(kv_head) * sequence.sealed.v_stride;
    const std::byte* const* const own = tiles + sequence.first_tile + first;
    if (warp < count) {
      const std::byte* extent = own[warp];
      LoadKeys(extent + k_at);
#pragma unroll 1
      for (int i = warp; i < count; i += kDecodeWarps) {
        LoadValues(extent + v_at);
        float score[8][2];
        Scores(score);
        if (i + kDecodeWarps < count) {
          extent = own[i + kDecodeWarps];
          LoadKeys(extent + k_at);
        }
        const int position = sequence.first_sealed_position + (first + i) * kv::kBlockTokens;
        if (position < sequence.oldest_position) Mask(sequence.oldest_position - position, score);
        Accumulate(score, state);
      }
    }
    Finish(state);
  }

  // Output channel of row g of channel tile n.
  static __device__ __forceinline__ int ChannelOf(int n, int g) {
    constexpr int kPerByte = 8 / kValueBits;
    const int half = n % 2, sub = n / 2 % kPerByte, word = n / 2 / kPerByte;
    const int load = word / kLoadWords;
    const int byte = load * 32 * kLoadWords + g * 4 * kLoadWords;
    return byte / 32 * (128 / kValueBits) + sub * 16 + byte % 32 / 2 + word % kLoadWords * 2 + half;
  }

 private:
  // A step of a query as the B operand.
  struct Query {
    uint32_t high[2];
    uint32_t low[2];
  };

  // x in fp16 and what rounding lost; returns the sum of what both hold.
  static __device__ __forceinline__ float Split(float2 x, uint32_t& high, uint32_t& low) {
    high = PackF16(x.x, x.y);
    const float2 rounded = UnpackF16(high);
    low = PackF16(x.x - rounded.x, x.y - rounded.y);
    const float2 rest = UnpackF16(low);
    return (rounded.x + rest.x) + (rounded.y + rest.y);
  }

  __device__ __forceinline__ void LoadKeys(const std::byte* tile) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int pair = q_ * (D / 8) + 2 * s + half;
        LoadWords<kKeyWords>(tile + pair * 16 * kKeyBits + g_ * Order::kBytes, keys_[s][half]);
      }
    }
    if constexpr (kChannel) {
      channel_scale_.Load(tile + Keys::ScaleOffset(D), q_);
      channel_zero_.Load(tile + Keys::ZeroOffset(D), q_);
    } else {
      key_scale_.Load(tile + Keys::ScaleOffset(D), g_);
      key_zero_.Load(tile + Keys::ZeroOffset(D), g_);
    }
  }

  __device__ __forceinline__ void LoadValues(const std::byte* tile) {
#pragma unroll
    for (int a = 0; a < 4; ++a) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const std::byte* row = tile + Order::TokenOf(2 * a, 2 * q_ + e) / 2 * (D * kValueBits / 4);
#pragma unroll
        for (int c = 0; c < kValueWords; c += kLoadWords) {
          uint32_t(&to)[kLoadWords] = *reinterpret_cast<uint32_t(*)[kLoadWords]>(&values_[a][e][c]);
          LoadWords<kLoadWords>(row + c * 32 + g_ * 4 * kLoadWords, to);
        }
      }
    }
    value_scale_.Load(tile + Values::ScaleOffset(D), g_);
    value_zero_.Load(tile + Values::ZeroOffset(D), g_);
  }

  // Scores of the tiles whose codes begin at bit kSub * kKeyBits.
  template <int kSub>
  __device__ __forceinline__ void MultiplyKeys(const Query& query, int s, float (&sum)[4][4]) {
#pragma unroll
    for (int word = 0; word < kKeyWords; ++word) {
      uint32_t rows[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        rows[r] = ExpandCodes<kKeyBits, kSub * kKeyBits>(keys_[s][r / 2][word], r % 2);
      }
      float(&to)[4] = sum[kSub * kKeyWords + word];
      MmaF16(to, rows, query.high[0], query.high[1]);
      MmaF16(to, rows, query.low[0], query.low[1]);
    }
    if constexpr (kSub + 1 < Order::kPerByte) MultiplyKeys<kSub + 1>(query, s, sum);
  }

  __device__ __forceinline__ void Scores(float (&score)[8][2]) {
    float sum[4][4] = {};
    float2 query_sum = query_sum_, zero_sum = {};
    if constexpr (kChannel) {
      float own_sum = 0.0f, own_zero_sum = 0.0f;
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        Query query;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float2 x = queries_.Pair(g_, q_, 2 * s + half);
          const float2 scale = UnpackF16(channel_scale_.raw[2 * s + half]);
          x.x *= scale.x;
          x.y *= scale.y;
          own_sum += Split(x, query.high[half], query.low[half]);
          const uint32_t zero = channel_zero_.raw[2 * s + half];
          own_zero_sum += x.x * static_cast<float>(static_cast<int16_t>(zero)) +
                          x.y * static_cast<float>(static_cast<int16_t>(zero >> 16));
        }
        MultiplyKeys<0>(query, s, sum);
      }
      query_sum = SumsOfQueries(own_sum, q_);
      zero_sum = SumsOfQueries(own_zero_sum, q_);
    } else {
#pragma unroll
      for (int s = 0; s < kSteps; ++s) MultiplyKeys<0>(query_[s], s, sum);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float unit = 1.0f / static_cast<float>(1 << (i / kKeyBits * kKeyBits));
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float of_query = e == 0 ? query_sum.x : query_sum.y;
        const float codes = (sum[i / 2][i % 2 * 2 + e] - kCodeBias * of_query) * unit;
        if constexpr (kChannel) {
          score[i][e] = codes - (e == 0 ? zero_sum.x : zero_sum.y);
        } else {
          score[i][e] = key_scale_.AsF16(i) * (codes - key_zero_.AsInt(i) * of_query);
        }
      }
    }
  }

  // Tokens before `begin` are out of the sliding window.
  __device__ __forceinline__ void Mask(int begin, float (&score)[8][2]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (Order::TokenOf(i, g_) < begin) score[i][0] = score[i][1] = -INFINITY;
    }
  }

  template <int kSub>
  __device__ __forceinline__ void MultiplyValues(int a, const Weights& weights,
                                                 DecodeState<D>& state) {
    constexpr int kPerByte = 8 / kValueBits;
#pragma unroll
    for (int word = 0; word < kValueWords; ++word) {
      uint32_t rows[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        rows[r] = ExpandCodes<kValueBits, kSub * kValueBits>(values_[a][r / 2][word], r % 2);
      }
      MmaF16(state.o[word * kPerByte + kSub], rows, weights.first, weights.second);
    }
    if constexpr (kSub + 1 < kPerByte) MultiplyValues<kSub + 1>(a, weights, state);
  }

  __device__ __forceinline__ void Accumulate(const float (&score)[8][2], DecodeState<D>& state) {
    const float2 keep = state.Raise(score);
    weight_sum_[0] *= keep.x, weight_sum_[1] *= keep.y;
    zero_weight_[0] *= keep.x, zero_weight_[1] *= keep.y;
#pragma unroll
    for (int a = 0; a < 4; ++a) {
      uint32_t p[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int i = 2 * a + h;
        const float first = state.Weight(score[i][0], 0), second = state.Weight(score[i][1], 1);
        state.l[0] += first;
        state.l[1] += second;
        const float scale = value_scale_.AsF16(i), zero = value_zero_.AsInt(i);
        p[h] = PackF16(first * scale, second * scale);
        const float2 rounded = UnpackF16(p[h]);
        weight_sum_[0] += rounded.x;
        weight_sum_[1] += rounded.y;
        zero_weight_[0] += rounded.x * zero;
        zero_weight_[1] += rounded.y * zero;
      }
      MultiplyValues<0>(a, SwapAndTranspose(p[0], p[1], g_), state);
    }
  }

  // Sums of codes into sums of values.
  __device__ __forceinline__ void Finish(DecodeState<D>& state) {
    float bias[2], zero[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      bias[e] = kCodeBias * DecodeState<D>::QuerySum(weight_sum_[e]);
      zero[e] = DecodeState<D>::QuerySum(zero_weight_[e]);
    }
    constexpr int kPerByte = 8 / kValueBits;
#pragma unroll
    for (int n = 0; n < D / 16; ++n) {
      const float unit = 1.0f / static_cast<float>(1 << (n % kPerByte * kValueBits));
#pragma unroll
      for (int c = 0; c < 4; ++c)
        state.o[n][c] = (state.o[n][c] - bias[c % 2]) * unit - zero[c % 2];
    }
  }

  const QueryTile<D>& queries_;
  const int g_, q_;
  Query query_[kChannel ? 1 : kSteps];
  float2 query_sum_ = {};
  float weight_sum_[2] = {};   // of rounded probabilities times scales, of the lane's own keys
  float zero_weight_[2] = {};  // the same times zero points
  uint32_t keys_[kSteps][2][kKeyWords];
  uint32_t values_[4][2][kValueWords];
  TokenParams<kKeyBits> key_scale_, key_zero_;
  ChannelParams<D> channel_scale_, channel_zero_;
  TokenParams<kKeyBits> value_scale_, value_zero_;
};

}  // namespace kvpareto::cuda
