// A warp's share of sealed tiles of integer codes, dequantized in registers. Whole tiles, codes and
// parameters, are copied to shared memory ahead of their use.
//
// Codes enter the products as fp16 numbers 1024 + code * 2^shift, made by one byte permutation and
// one mask: the pair of codes of two neighbouring elements (tile.h) is one register of an A
// operand. Scales and zero points stay outside:
//   keys per token:    s . (sum q (code - z)) = s (sum q code - z sum q)
//   keys per channel:  the query is multiplied by the channels' scales, tile by tile
//   values per token:  the probability is multiplied by the token's scale
// The 1024 and the shift come off the sums. Queries are rounded to fp16, 2^-12 relative: a tenth of
// what 8-bit codes are off.
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

template <int kWords>
__device__ __forceinline__ void ReadShared(const std::byte* from, uint32_t (&to)[kWords]) {
  static_assert(kWords == 1 || kWords == 2 || kWords == 4);
  if constexpr (kWords == 1) {
    to[0] = *reinterpret_cast<const uint32_t*>(from);
  } else if constexpr (kWords == 2) {
    const uint2 v = *reinterpret_cast<const uint2*>(from);
    to[0] = v.x, to[1] = v.y;
  } else {
    const uint4 v = *reinterpret_cast<const uint4*>(from);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
  }
}

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
      ReadShared<kWords>(from + 2 * TokenOrder<kBits>::First(sub, g), raw[sub]);
    }
  }
  __device__ __forceinline__ float AsF16(int i) const {
    const float2 pair = UnpackF16(raw[i / kBits][i % kBits / 2]);
    return i % 2 == 0 ? pair.x : pair.y;
  }
  __device__ __forceinline__ float AsInt(int i) const {
    const float2 pair = Int16ToFloat(raw[i / kBits][i % kBits / 2]);
    return i % 2 == 0 ? pair.x : pair.y;
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

  // One tile: keys of the next are copied while the values of this one are used, and the other way
  // round.
  struct alignas(128) Stage {
    std::byte k[Keys::TileBytes(D)];
    std::byte v[Values::TileBytes(D)];
  };

  __device__ SealedReader(const QueryTile<D>& queries, Stage& stage, int lane)
      : queries_(queries), stage_(stage), lane_(lane), g_(lane / 4), q_(lane % 4) {}

  // Begins to read the warp's tiles: every kDecodeWarps-th of tiles[0 .. count).
  __device__ void Start(const std::byte* const* tiles, int count, const DecodeSequence& sequence,
                        int kv_head, int warp) {
    tiles_ = tiles;
    count_ = count;
    warp_ = warp;
    k_at_ = sequence.sealed.k_offset + size_t(kv_head) * sequence.sealed.k_stride;
    v_at_ = sequence.sealed.v_offset + size_t(kv_head) * sequence.sealed.v_stride;
    Copy(warp, k_at_, stage_.k);
    Copy(warp, v_at_, stage_.v);
  }

  // `position`: of tiles[0]'s first token.
  __device__ void Run(int position, int oldest_position, DecodeState<D>& state) {
    if constexpr (!kChannel) RoundQueries();
#pragma unroll 1
    for (int i = warp_; i < count_; i += kDecodeWarps) {
      // Two groups of copies are under way, keys and values in turn: the older one is wanted.
      WaitForCopies<1>();
      __syncwarp();
      float score[8][2];
      Scores(stage_.k, score);
      __syncwarp();
      Copy(i + kDecodeWarps, k_at_, stage_.k);
      const int first = position + i * kv::kBlockTokens;
      if (first < oldest_position) Mask(oldest_position - first, score);
      const float2 keep = state.Raise(score);
      WaitForCopies<1>();
      __syncwarp();
      Accumulate(stage_.v, score, keep, state);
      __syncwarp();
      Copy(i + kDecodeWarps, v_at_, stage_.v);
    }
    WaitForCopies<0>();
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
    uint32_t x[2];
  };

  // x in fp16; adds what that holds to `sum`.
  static __device__ __forceinline__ uint32_t Round(float2 x, float& sum) {
    const uint32_t rounded = PackF16(x.x, x.y);
    const float2 held = UnpackF16(rounded);
    sum += held.x + held.y;
    return rounded;
  }

  // Copies the keys or values of tile i, if there is one, and commits in any case.
  template <size_t kBytes>
  __device__ __forceinline__ void Copy(int i, size_t at, std::byte (&to)[kBytes]) {
    if (i < count_) {
      const std::byte* from = tiles_[i] + at + lane_ * 16;
#pragma unroll
      for (int byte = 0; byte < kBytes; byte += 512) {
        if (byte + 512 <= kBytes || byte + lane_ * 16 < kBytes) {
          CopyAsync<16>(to + byte + lane_ * 16, from + byte);
        }
      }
    }
    CommitCopies();
  }

  __device__ void RoundQueries() {
    float sum = 0.0f;
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        query_[s].x[half] = Round(queries_.Pair(g_, PairOf(s, half, q_)), sum);
      }
    }
    query_sum_ = SumsOfQueries(sum, q_);
  }

  // Scores of the tiles whose codes begin at bit kSub * kKeyBits.
  template <int kSub>
  __device__ __forceinline__ void MultiplyKeys(const Query& query,
                                               const uint32_t (&keys)[2][kKeyWords],
                                               float (&sum)[4][4]) {
#pragma unroll
    for (int word = 0; word < kKeyWords; ++word) {
      uint32_t rows[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        rows[r] = ExpandCodes<kKeyBits, kSub * kKeyBits>(keys[r / 2][word], r % 2);
      }
      MmaF16(sum[kSub * kKeyWords + word], rows, query.x[0], query.x[1]);
    }
    if constexpr (kSub + 1 < Order::kPerByte) MultiplyKeys<kSub + 1>(query, keys, sum);
  }

  __device__ __forceinline__ void Scores(const std::byte* tile, float (&score)[8][2]) {
    float sum[4][4] = {};
    float2 query_sum = query_sum_, zero_sum = {};
    float own_sum = 0.0f, own_zero_sum = 0.0f;
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      uint32_t keys[2][kKeyWords];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        ReadShared<kKeyWords>(tile + PairOf(s, half, q_) * 16 * kKeyBits + g_ * Order::kBytes,
                              keys[half]);
      }
      if constexpr (kChannel) {
        Query query;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          query.x[half] = ScaleQuery(tile, PairOf(s, half, q_), own_sum, own_zero_sum);
        }
        MultiplyKeys<0>(query, keys, sum);
      } else {
        MultiplyKeys<0>(query_[s], keys, sum);
      }
    }
    TokenParams<kKeyBits> scale, zero;
    if constexpr (kChannel) {
      query_sum = SumsOfQueries(own_sum, q_);
      zero_sum = SumsOfQueries(own_zero_sum, q_);
    } else {
      scale.Load(tile + Keys::ScaleOffset(D), g_);
      zero.Load(tile + Keys::ZeroOffset(D), g_);
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
          score[i][e] = scale.AsF16(i) * (codes - zero.AsInt(i) * of_query);
        }
      }
    }
  }

  // A pair of channels of the query times the channels' scales.
  __device__ __forceinline__ uint32_t ScaleQuery(const std::byte* tile, int pair, float& sum,
                                                 float& zero_sum) {
    const auto* scales = reinterpret_cast<const uint32_t*>(tile + Keys::ScaleOffset(D));
    const auto* zeros = reinterpret_cast<const uint32_t*>(tile + Keys::ZeroOffset(D));
    float2 x = queries_.Pair(g_, pair);
    const float2 scale = UnpackF16(scales[pair]), zero = Int16ToFloat(zeros[pair]);
    x.x *= scale.x;
    x.y *= scale.y;
    zero_sum += x.x * zero.x + x.y * zero.y;
    return Round(x, sum);
  }

  // Tokens before `begin` are out of the sliding window.
  __device__ __forceinline__ void Mask(int begin, float (&score)[8][2]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (Order::TokenOf(i, g_) < begin) score[i][0] = score[i][1] = -INFINITY;
    }
  }

  template <int kSub>
  __device__ __forceinline__ void MultiplyValues(const Weights& weights,
                                                 const uint32_t (&values)[2][kValueWords],
                                                 DecodeState<D>& state) {
    constexpr int kPerByte = 8 / kValueBits;
#pragma unroll
    for (int word = 0; word < kValueWords; ++word) {
      uint32_t rows[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        rows[r] = ExpandCodes<kValueBits, kSub * kValueBits>(values[r / 2][word], r % 2);
      }
      MmaF16(state.o[word * kPerByte + kSub], rows, weights.first, weights.second);
    }
    if constexpr (kSub + 1 < kPerByte) MultiplyValues<kSub + 1>(weights, values, state);
  }

  __device__ __forceinline__ void Accumulate(const std::byte* tile, const float (&score)[8][2],
                                             float2 keep, DecodeState<D>& state) {
    TokenParams<kKeyBits> scales, zeros;
    scales.Load(tile + Values::ScaleOffset(D), g_);
    zeros.Load(tile + Values::ZeroOffset(D), g_);
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
        const float scale = scales.AsF16(i), zero = zeros.AsInt(i);
        p[h] = PackF16(first * scale, second * scale);
        const float2 rounded = UnpackF16(p[h]);
        weight_sum_[0] += rounded.x;
        weight_sum_[1] += rounded.y;
        zero_weight_[0] += rounded.x * zero;
        zero_weight_[1] += rounded.y * zero;
      }
      uint32_t values[2][kValueWords];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const std::byte* row = tile + Order::TokenOf(2 * a, 2 * q_ + e) / 2 * (D * kValueBits / 4);
#pragma unroll
        for (int c = 0; c < kValueWords; c += kLoadWords) {
          uint32_t(&to)[kLoadWords] = *reinterpret_cast<uint32_t(*)[kLoadWords]>(&values[e][c]);
          ReadShared<kLoadWords>(row + c * 32 + g_ * 4 * kLoadWords, to);
        }
      }
      MultiplyValues<0>(SwapAndTranspose(p[0], p[1], g_), values, state);
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
  Stage& stage_;
  const int lane_, g_, q_;
  const std::byte* const* tiles_ = nullptr;
  int count_ = 0;
  int warp_ = 0;
  size_t k_at_ = 0;  // of the tiles of the KV head inside an extent
  size_t v_at_ = 0;
  Query query_[kChannel ? 1 : kSteps];
  float2 query_sum_ = {};
  float weight_sum_[2] = {};   // of rounded probabilities times scales, of the lane's own keys
  float zero_weight_[2] = {};  // the same times zero points
};

}  // namespace kvpareto::cuda
