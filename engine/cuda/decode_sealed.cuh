// A warp's share of sealed tiles of integer codes, dequantized in registers. Whole tiles, codes and
// parameters, are copied to shared memory ahead of their use.
//
// Codes enter the products as they are (lane_codes.cuh). Scales and zero points stay outside:
//   keys per token:    s . (sum q (code - z)) = s (sum q code - z sum q)
//   keys per channel:  the query is multiplied by the channels' scales, tile by tile, and one more
//                      product sums it up, and its products with the zero points
//   values:            the probability is multiplied by the token's scale, once for each group of
//                      channels that has its own
// The 1024 and the shift come off the sums. Queries are rounded to fp16, 2^-12 relative, and again
// when they are multiplied by scales: a tenth of what 8-bit codes are off.
#pragma once

#include "engine/cuda/decode_open.cuh"
#include "engine/cuda/lane_codes.cuh"
#include "engine/kv/codec_list.h"

namespace kvpareto::cuda {

// KeyCodec: IntCodec per token or per channel. ValueCodec: IntCodec per token, also in groups.
template <int D, typename KeyCodec, typename ValueCodec>
class SealedReader {
 public:
  using Keys = KeyCodec;
  using Values = ValueCodec;
  static constexpr bool kChannel = Keys::kGranularity == kv::Granularity::kPerChannel;
  static_assert(kChannel || Keys::kGroupChannels == 0);
  static_assert(Values::kGranularity == kv::Granularity::kPerToken);
  static constexpr int kSteps = D / 16;
  static constexpr int kKeyLow = LowBits(Keys::kBits);
  static constexpr int kKeyWords = kKeyLow / 2;  // of a lane in a row
  using Order = TokenOrder<kKeyLow>;
  using KeyCodes = LaneCodes<Keys::kBits, kKeyWords, kKeyWords>;

  // Values are multiplied 16 channels at a time, kPerByte of these to a word. Where groups have
  // scales of their own, a word of all lanes lies in one group.
  static constexpr int kPerByte = 8 / LowBits(Values::kBits);
  static constexpr int kGroups = D / Values::Policy::Width(D);
  static constexpr int kGroupTiles = D / 16 / kGroups;
  static constexpr int kGroupWords = (kGroupTiles + kPerByte - 1) / kPerByte;
  static constexpr int kLoadWords = kGroups > 1 ? 1 : kGroupWords < 4 ? kGroupWords : 4;
  static_assert(kGroups == 1 || LowBits(Values::kBits) == Values::kBits);
  using ValueCodes = LaneCodes<Values::kBits, kGroupWords, kLoadWords>;

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
    RoundQueries();
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
    const int half = n % 2, sub = n / 2 % kPerByte, word = n / 2 / kPerByte;
    const int byte = word / kLoadWords * 32 * kLoadWords + g * 4 * kLoadWords;
    return byte / 32 * (16 * kPerByte) + sub * 16 + byte % 32 / 2 + word % kLoadWords * 2 + half;
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

  __device__ __forceinline__ void Scores(const std::byte* tile, float (&score)[8][2]) {
    float sum[4][4] = {};
    float channel_sum[4] = {};
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      KeyCodes keys[2];
      Query query = query_[s];
      uint32_t zeros[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int pair = PairOf(s, half, q_);
        keys[half].Read(tile + pair * Keys::Packing::Bytes(2 * kv::kBlockTokens), g_);
        if constexpr (kChannel) {
          query.x[half] = MultiplyF16(query.x[half], ParamPair(tile + Keys::ScaleOffset(D), pair));
          zeros[half] = SumRow(ParamPair(tile + Keys::ZeroOffset(D), pair));
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        uint32_t rows[4];
#pragma unroll
        for (int r = 0; r < 4; ++r) rows[r] = keys[r / 2].Pair(i % kKeyWords, i / kKeyWords, r % 2);
        MmaF16(sum[i], rows, query.x[0], query.x[1]);
      }
      if constexpr (kChannel) {
        const uint32_t rows[4] = {zeros[0], zeros[0], zeros[1], zeros[1]};
        MmaF16(channel_sum, rows, query.x[0], query.x[1]);
      }
    }
    if constexpr (kChannel) {
      ScoresPerChannel(sum, channel_sum, score);
    } else {
      ScoresPerToken(tile, sum, score);
    }
  }

  static __device__ __forceinline__ float UnitOf(int i) {
    return 1.0f / static_cast<float>(1 << KeyCodes::ShiftOf(i / kKeyLow));
  }

  __device__ __forceinline__ void ScoresPerToken(const std::byte* tile, const float (&sum)[4][4],
                                                 float (&score)[8][2]) {
    TokenParams<kKeyLow> scale, zero;
    scale.Load(tile + Keys::ScaleOffset(D), g_);
    zero.Load(tile + Keys::ZeroOffset(D), g_);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float of_query = e == 0 ? query_sum_.x : query_sum_.y;
        const float codes = (sum[i / 2][i % 2 * 2 + e] - kCodeBias * of_query) * UnitOf(i);
        score[i][e] = scale.AsF16(i) * (codes - zero.AsInt(i) * of_query);
      }
    }
  }

  // `channel_sum`: rows as SumRow has them.
  __device__ __forceinline__ void ScoresPerChannel(const float (&sum)[4][4],
                                                   const float (&channel_sum)[4],
                                                   float (&score)[8][2]) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float of_query = __shfl_sync(~0u, channel_sum[e], q_);
      const float zeros = 256.0f * __shfl_sync(~0u, channel_sum[e], 4 + q_) +
                          __shfl_sync(~0u, channel_sum[e], 8 + q_);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float offset = kCodeBias * UnitOf(i) * of_query + zeros;
        score[i][e] = sum[i / 2][i % 2 * 2 + e] * UnitOf(i) - offset;
      }
    }
  }

  // Parameters of a pair of channels.
  static __device__ __forceinline__ uint32_t ParamPair(const std::byte* params, int pair) {
    return reinterpret_cast<const uint32_t*>(params)[pair];
  }
  // What row g of the product has that sums up queries: row 0 ones, row 1 the upper bytes of the
  // zero points, which are signed, row 2 their lower bytes; the others do not matter. As fp16
  // numbers, exact.
  __device__ __forceinline__ uint32_t SumRow(uint32_t zeros) const {
    const uint32_t biased =
        __byte_perm(zeros ^ 0x80008000u, 0x64646464u, g_ == 1 ? 0x4341 : 0x4240);
    const uint32_t bytes =
        AddF16(biased, g_ == 1 ? PackF16(-1152.0f, -1152.0f) : PackF16(-kCodeBias, -kCodeBias));
    return g_ == 0 ? PackF16(1.0f, 1.0f) : bytes;
  }

  // Tokens before `begin` are out of the sliding window.
  __device__ __forceinline__ void Mask(int begin, float (&score)[8][2]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (Order::TokenOf(i, g_) < begin) score[i][0] = score[i][1] = -INFINITY;
    }
  }

  // Scores become probabilities.
  __device__ __forceinline__ void Accumulate(const std::byte* tile, float (&score)[8][2],
                                             float2 keep, DecodeState<D>& state) {
#pragma unroll
    for (auto& of_token : score) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        of_token[e] = state.Weight(of_token[e], e);
        state.l[e] += of_token[e];
      }
    }
#pragma unroll
    for (int group = 0; group < kGroups; ++group) AccumulateGroup(tile, group, score, keep, state);
  }

  __device__ __forceinline__ void AccumulateGroup(const std::byte* tile, int group,
                                                  const float (&weight)[8][2], float2 keep,
                                                  DecodeState<D>& state) {
    constexpr size_t kRowBytes = Values::Packing::Bytes(2 * D);  // two tokens
    TokenParams<kKeyLow> scales, zeros;
    scales.Load(tile + Values::ScaleOffset(D) + group * 2 * kv::kBlockTokens, g_);
    zeros.Load(tile + Values::ZeroOffset(D) + group * 2 * kv::kBlockTokens, g_);
    float(&weight_sum)[2] = weight_sum_[group];
    float(&zero_weight)[2] = zero_weight_[group];
    weight_sum[0] *= keep.x, weight_sum[1] *= keep.y;
    zero_weight[0] *= keep.x, zero_weight[1] *= keep.y;
    const int first_word = group * kGroupTiles / kPerByte;
#pragma unroll
    for (int a = 0; a < 4; ++a) {
      uint32_t p[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int i = 2 * a + h;
        const float scale = scales.AsF16(i), zero = zeros.AsInt(i);
        p[h] = PackF16(weight[i][0] * scale, weight[i][1] * scale);
        const float2 rounded = UnpackF16(p[h]);
        weight_sum[0] += rounded.x;
        weight_sum[1] += rounded.y;
        zero_weight[0] += rounded.x * zero;
        zero_weight[1] += rounded.y * zero;
      }
      ValueCodes values[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = Order::TokenOf(2 * a, 2 * q_ + e) / 2;
        values[e].Read(tile + row * kRowBytes + first_word * 32, g_);
      }
      const Weights weights = SwapAndTranspose(p[0], p[1], g_);
#pragma unroll
      for (int n = group * kGroupTiles; n < (group + 1) * kGroupTiles; ++n) {
        uint32_t rows[4];
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          rows[r] = values[r / 2].Pair(n / kPerByte - first_word, n % kPerByte, r % 2);
        }
        MmaF16(state.o[n], rows, weights.first, weights.second);
      }
    }
  }

  // Sums of codes into sums of values.
  __device__ __forceinline__ void Finish(DecodeState<D>& state) {
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      float bias[2], zero[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        bias[e] = kCodeBias * DecodeState<D>::QuerySum(weight_sum_[group][e]);
        zero[e] = DecodeState<D>::QuerySum(zero_weight_[group][e]);
      }
#pragma unroll
      for (int n = group * kGroupTiles; n < (group + 1) * kGroupTiles; ++n) {
        const float unit = 1.0f / static_cast<float>(1 << ValueCodes::ShiftOf(n % kPerByte));
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          state.o[n][c] = (state.o[n][c] - bias[c % 2]) * unit - zero[c % 2];
        }
      }
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
  Query query_[kSteps];
  float2 query_sum_ = {};
  // By groups of channels.
  float weight_sum_[kGroups][2] = {};   // of rounded probabilities times scales, of the lane's keys
  float zero_weight_[kGroups][2] = {};  // the same times zero points
};

}  // namespace kvpareto::cuda
