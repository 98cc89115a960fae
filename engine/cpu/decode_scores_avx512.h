// Scores of a query row against one piece: half of decode attention (attention_decode_avx512.h
// has the arithmetic and what `Products` is). Everything is in an anonymous namespace (see
// tile_decode_avx512.h).
#pragma once

#include "engine/cpu/decode_scratch_avx512.h"

namespace kvpareto::cpu {
namespace {

// Raw scores of bf16 keys, in place. A window lower than a tile is widened first: the kernel loads
// whole rows of kBlockTokens.
template <typename Products>
void ScoreBf16(const AttentionTask& task, const TilePiece& piece, DecodeScratch<Products>& scratch,
               DotArgs dot) {
  const size_t tile_row_bytes = PairBytes<16>(piece.layout->tile_tokens);
  dot.keys = piece.k_tile(task.kv_head) + PairBytes<16>(piece.window);
  dot.row_bytes = tile_row_bytes;
  if (piece.window_slots < kv::kBlockTokens) {
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

template <int kBits, typename Products>
void ScorePerToken(const AttentionTask& task, const TileFormat& format,
                   DecodeScratch<Products>& scratch, DotArgs dot) {
  const int channels = format.group_channels;
  float* const scores = dot.scores;
  const int stride = dot.stride;
  dot.rows = channels / 2;
  dot.scores = scratch.tile;
  dot.stride = kv::kBlockTokens;
  for (int c = 0; c < task.head_dim; c += channels) {
    scratch.products.template Dot<kBits>(dot, task.group);
    const float* scale = scratch.params.scale + c / channels * kv::kBlockTokens;
    const float* zero = scratch.params.zero + c / channels * kv::kBlockTokens;
    for (int h = 0; h < task.group; ++h) {
      const float* const q = dot.q + h * dot.q_stride;
      const __m512 q_sum = _mm512_set1_ps(Sum(q, channels));
      const __m512 start =
          _mm512_set1_ps(c == 0 && format.extra == Extra::kMeans
                             ? SumOfProducts(q, scratch.params.factor, task.head_dim)
                             : 0.0f);
      for (int t = 0; t < kv::kBlockTokens; t += 16) {
        const __m512 raw = _mm512_loadu_ps(scratch.tile + h * kv::kBlockTokens + t);
        const __m512 centred = _mm512_fnmadd_ps(_mm512_loadu_ps(zero + t), q_sum, raw);
        float* const to = scores + h * stride + t;
        const __m512 before = c == 0 ? start : _mm512_loadu_ps(to);
        _mm512_storeu_ps(to, _mm512_fmadd_ps(centred, _mm512_loadu_ps(scale + t), before));
      }
    }
    dot.keys += dot.rows * dot.row_bytes;
    if (dot.next != nullptr) dot.next += dot.rows * dot.row_bytes;
    dot.q += channels;
  }
}

template <int kBits, typename Products>
void ScorePerChannel(const AttentionTask& task, const TileFormat& format,
                     DecodeScratch<Products>& scratch, DotArgs dot) {
  const float* const q = dot.q;
  dot.q = scratch.folded;
  for (int h = 0; h < task.group; ++h) {
    float* const folded = scratch.folded + h * task.head_dim;
    // Kept in the scores' place until the products are there.
    scratch.tile[h] = MultiplyAndDot(q + h * task.head_dim, scratch.params.scale,
                                     scratch.params.zero, task.head_dim, folded);
  }
  scratch.products.template Dot<kBits>(dot, task.group);
  for (int h = 0; h < task.group; ++h) {
    float* const scores = dot.scores + h * dot.stride;
    AddScalar(-scratch.tile[h], kv::kBlockTokens, scores);
    if (format.extra == Extra::kFactors) Multiply(scratch.params.factor, kv::kBlockTokens, scores);
  }
}

template <int kBits, typename Products>
void ScoreCodes(const AttentionTask& task, const TileFormat& format,
                DecodeScratch<Products>& scratch, DotArgs dot) {
  dot.row_bytes = PairBytes<kBits>(kv::kBlockTokens);
  switch (format.granularity) {
    case kv::Granularity::kPerToken:
      return ScorePerToken<kBits>(task, format, scratch, dot);
    default:  // one scale for all: as if it were each channel's
      Fill(scratch.params.scale[0], task.head_dim, scratch.params.scale);
      Fill(scratch.params.zero[0], task.head_dim, scratch.params.zero);
      [[fallthrough]];
    case kv::Granularity::kPerChannel:
      return ScorePerChannel<kBits>(task, format, scratch, dot);
  }
}

// Scores of all heads against the piece's kBlockTokens slots; invalid ones are whatever they are.
template <typename Products>
void ScorePiece(const AttentionTask& task, const TilePiece& piece, const std::byte* next,
                DecodeScratch<Products>& scratch, float* scores) {
  DotArgs dot = {.next = next,
                 .rows = task.head_dim / 2,
                 .q = scratch.q,
                 .q_stride = task.head_dim,
                 .scores = scores,
                 .stride = kScoreStride};
  const kv::CodecId codec = piece.layout->k_codec;
  if (codec == kv::CodecId::kBf16) return ScoreBf16(task, piece, scratch, dot);
  const auto dot_decoded = [&] {
    PrefetchBytes(next, 0, piece.layout->k_tile_bytes);
    dot.next = nullptr;
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
  LoadParams(format, dot.keys, scratch.params);
  PrefetchBytes(next, ElementBytes(format, task.head_dim), piece.layout->k_tile_bytes);
  switch (format.bits) {
    case 8:
      return ScoreCodes<8>(task, format, scratch, dot);
    case 6:
      return ScoreCodes<6>(task, format, scratch, dot);
    case 4:
      return ScoreCodes<4>(task, format, scratch, dot);
    case 3:
      return ScoreCodes<3>(task, format, scratch, dot);
    default:
      return ScoreCodes<2>(task, format, scratch, dot);
  }
}

}  // namespace
}  // namespace kvpareto::cpu
