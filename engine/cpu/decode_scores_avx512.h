// Scores of a query row against one piece: half of decode attention (attention_decode_avx512.h
// has the arithmetic and what `Products` is). Everything is in an anonymous namespace (see
// tile_decode_avx512.h).
#pragma once

#include "engine/cpu/decode_scratch_avx512.h"

namespace kvpareto::cpu {
namespace {

// Raw scores of bf16 keys, in place. Where the kernel loads whole rows of kBlockTokens, a window
// lower than a tile is widened first.
template <typename Products>
void ScoreBf16(const AttentionTask& task, const TilePiece& piece, DecodeScratch<Products>& scratch,
               DotArgs dot) {
  const size_t tile_row_bytes = PairBytes<16>(piece.layout->tile_tokens);
  dot.keys = piece.k_tile(task.kv_head) + PairBytes<16>(piece.window);
  dot.row_bytes = tile_row_bytes;
  if constexpr (Products::kLowWindows) {
    dot.tokens = piece.window_slots;
  } else if (piece.window_slots < kv::kBlockTokens) {
    constexpr size_t kRowBytes = PairBytes<16>(kv::kBlockTokens);
    std::byte* const widened = reinterpret_cast<std::byte*>(scratch.keys);
    std::memset(widened, 0, kRowBytes * dot.rows);
    for (int r = 0; r < dot.rows; ++r) {
      std::memcpy(widened + r * kRowBytes, dot.keys + r * tile_row_bytes,
                  PairBytes<16>(piece.window_slots));
    }
    dot.keys = widened;
    dot.row_bytes = kRowBytes;
  }
  scratch.products.template Dot<16>(dot, task.group);
}

// A scale and a zero point per token and `channels` channels: [head_dim / channels, kBlockTokens].
template <int kBits, typename Integers>
void ScorePerToken(const AttentionTask& task, const TileParams& params, int channels,
                   Integers& integers, const DotArgs& dot) {
  CodeRows rows = {dot.keys, dot.ahead, dot.row_bytes, channels / 2};
  const float* scale = params.scale;
  const float* zero = params.zero;
  for (int c = 0; c < task.head_dim; c += channels) {
    DotCodes<kBits, false>(
        integers, {.x = dot.q + c, .stride = dot.q_stride, .n = channels}, nullptr, rows,
        task.group, [&](int h, int t, const CodeSums& sums) {
          float* const to = dot.scores + h * dot.stride + t;
          const __m512 before = c == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(to);
          const __m512 centred = sums.Centred(_mm512_loadu_ps(zero + t));
          _mm512_storeu_ps(to, _mm512_fmadd_ps(centred, _mm512_loadu_ps(scale + t), before));
        });
    rows.codes += rows.rows * rows.row_bytes;
    scale += kv::kBlockTokens;
    zero += kv::kBlockTokens;
  }
}

// `following`: the keys of the tile behind this one, of the same format; or null.
template <int kBits, typename Integers>
void ScorePerChannel(const AttentionTask& task, const TileFormat& format, const float* factors,
                     const std::byte* following, Integers& integers, const DotArgs& dot) {
  const auto queries = [&](const std::byte* keys) {
    return FloatRows{.x = dot.q,
                     .stride = dot.q_stride,
                     .n = task.head_dim,
                     .scale = keys + format.scale_offset,
                     .zero = keys + format.zero_offset};
  };
  const FloatRows behind = queries(following == nullptr ? dot.keys : following);
  DotCodes<kBits, true>(integers, queries(dot.keys), following == nullptr ? nullptr : &behind,
                        {dot.keys, dot.ahead, dot.row_bytes, dot.rows}, task.group,
                        [&](int h, int t, const CodeSums& sums) {
                          __m512 scores = sums.Centred();
                          if (factors != nullptr) {
                            scores = _mm512_mul_ps(scores, _mm512_loadu_ps(factors + t));
                          }
                          _mm512_storeu_ps(dot.scores + h * dot.stride + t, scores);
                        });
}

template <int kBits, typename Products>
void ScoreTile(const AttentionTask& task, const TileFormat& format, const std::byte* following,
               DecodeScratch<Products>& scratch, DotArgs dot) {
  auto& integers = scratch.products.ForCodes(task.group);
  TileParams& params = scratch.params;
  dot.row_bytes = PairBytes<kBits>(kv::kBlockTokens);
  if (format.granularity == kv::Granularity::kPerChannel) {
    if (format.extra == Extra::kFactors) LoadFactors(format, dot.keys, params);
    const float* const factors = format.extra == Extra::kFactors ? params.factor : nullptr;
    return ScorePerChannel<kBits>(task, format, factors, following, integers, dot);
  }
  LoadParams(format, dot.keys, params);
  if (format.granularity == kv::Granularity::kPerToken) {
    ScorePerToken<kBits>(task, params, format.group_channels, integers, dot);
  } else {  // one scale for all: as if it were each token's
    Fill(params.scale[0], kv::kBlockTokens, params.scale);
    Fill(params.zero[0], kv::kBlockTokens, params.zero);
    ScorePerToken<kBits>(task, params, task.head_dim, integers, dot);
  }
  if (format.extra != Extra::kMeans) return;
  for (int h = 0; h < task.group; ++h) {
    AddScalar(SumOfProducts(dot.q + h * dot.q_stride, params.factor, task.head_dim),
              kv::kBlockTokens, dot.scores + h * dot.stride);
  }
}

// Scores of all heads against the kBlockTokens slots of pieces[0]; invalid ones are whatever they
// are. `left`: pieces from it on.
template <typename Products>
void ScorePiece(const AttentionTask& task, const TilePiece* pieces, int left,
                DecodeScratch<Products>& scratch, float* scores) {
  const TilePiece& piece = pieces[0];
  DotArgs dot = {.ahead = &scratch.ahead,
                 .rows = task.head_dim / 2,
                 .q = scratch.q,
                 .q_stride = task.head_dim,
                 .scores = scores,
                 .stride = kScoreStride};
  const kv::CodecId codec = piece.layout->k_codec;
  if (codec == kv::CodecId::kBf16) return ScoreBf16(task, piece, scratch, dot);
  const auto dot_decoded = [&] {
    dot.ahead = nullptr;
    dot.keys = reinterpret_cast<const std::byte*>(scratch.decoded);
    dot.row_bytes = PairBytes<32>(kv::kBlockTokens);
    scratch.products.template Dot<32>(dot, task.group);
  };
  if (codec == kv::CodecId::kF32) {
    ReadOpenKeys(task, piece, {piece.begin, piece.end}, GranuleFloats{scratch.decoded});
    return dot_decoded();
  }
  dot.keys = piece.k_tile(task.kv_head);
  const TileFormat& format =
      FormatOf(scratch.k_format, codec, kv::Role::kKey, task.head_dim, task.k_range);
  if (!format.codes) {
    DecodeToFloats({codec, kv::Role::kKey, task.k_range, task.head_dim, dot.keys}, scratch.decoded);
    return dot_decoded();
  }
  AskForParams(format, task.head_dim, piece.layout->k_tile_bytes, scratch.ahead);
  const std::byte* const following =
      left > 1 && pieces[1].layout->k_codec == codec ? pieces[1].k_tile(task.kv_head) : nullptr;
  switch (format.bits) {
    case 8:
      return ScoreTile<8>(task, format, following, scratch, dot);
    case 6:
      return ScoreTile<6>(task, format, following, scratch, dot);
    case 4:
      return ScoreTile<4>(task, format, following, scratch, dot);
    case 3:
      return ScoreTile<3>(task, format, following, scratch, dot);
    default:
      return ScoreTile<2>(task, format, following, scratch, dot);
  }
}

}  // namespace
}  // namespace kvpareto::cpu
