// One piece's values, weighted by a query row's probabilities: half of decode attention
// (attention_decode_avx512.h has the arithmetic and what `Products` is). Everything is in an
// anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include "engine/cpu/decode_scratch_avx512.h"

namespace kvpareto::cpu {
namespace {

// bf16 values in place. Rows hold two slots; one that holds a single visible slot goes through a
// copy whose other slot is zero, because what stands there may be NaN.
template <typename Products>
void WeighBf16(const AttentionTask& task, const TilePiece& piece, Slots slots,
               DecodeScratch<Products>& scratch, WeighArgs weigh) {
  const size_t row_bytes = PairBytes<16>(task.head_dim);
  const std::byte* const values = piece.v_tile(task.kv_head) + piece.window / 2 * row_bytes;
  const float* const p = weigh.p;
  const auto edge = [&](int row, uint32_t keep) {
    for (int c = 0; c < task.head_dim; c += 16) {
      const __m512i lanes = _mm512_loadu_si512(values + row * row_bytes + 4 * size_t(c));
      _mm512_store_si512(scratch.edge + 2 * c,
                         _mm512_and_si512(lanes, _mm512_set1_epi32(static_cast<int>(keep))));
    }
    WeighArgs weigh_edge = weigh;
    weigh_edge.next = nullptr;
    weigh_edge.values = reinterpret_cast<const std::byte*>(scratch.edge);
    weigh_edge.rows = 1;
    weigh_edge.p = p + 2 * row;
    scratch.products.template Weigh<16>(weigh_edge, task.group, task.head_dim);
  };
  weigh.row_bytes = row_bytes;
  int begin = slots.begin / 2;
  if (slots.begin % 2 != 0) edge(begin++, 0xffff0000u);
  const int end = slots.end / 2;
  if (begin < end) {
    weigh.values = values + begin * row_bytes;
    weigh.rows = end - begin;
    weigh.p = p + 2 * begin;
    scratch.products.template Weigh<16>(weigh, task.group, task.head_dim);
  }
  if (slots.end % 2 != 0 && slots.end > slots.begin && begin <= end) edge(end, 0x0000ffffu);
}

// One scale per token and `channels` channels from channel c on.
template <int kBits, typename Products>
void WeighPerToken(const AttentionTask& task, const float* scale, const float* zero, int c,
                   int channels, DecodeScratch<Products>& scratch, WeighArgs weigh) {
  weigh.values += PairBytes<kBits>(c);
  if (weigh.next != nullptr) weigh.next += PairBytes<kBits>(c);
  weigh.out += c;
  for (int h = 0; h < task.group; ++h) {
    const float bias = MultiplyAndDot(weigh.p + h * weigh.p_stride, scale, zero, kv::kBlockTokens,
                                      scratch.tile + h * kv::kBlockTokens);
    AddScalar(-bias, channels, weigh.out + h * weigh.out_stride);
  }
  weigh.p = scratch.tile;
  weigh.p_stride = kv::kBlockTokens;
  scratch.products.template Weigh<kBits>(weigh, task.group, channels);
}

template <int kBits, typename Products>
void WeighPerChannel(const AttentionTask& task, DecodeScratch<Products>& scratch, WeighArgs weigh) {
  float* const out = weigh.out;
  weigh.out = scratch.folded;
  Fill(0.0f, task.group * task.head_dim, scratch.folded);
  scratch.products.template Weigh<kBits>(weigh, task.group, task.head_dim);
  for (int h = 0; h < task.group; ++h) {
    const __m512 p_sum = _mm512_set1_ps(Sum(weigh.p + h * weigh.p_stride, kv::kBlockTokens));
    for (int c = 0; c < task.head_dim; c += 16) {
      const __m512 raw = _mm512_loadu_ps(scratch.folded + h * task.head_dim + c);
      const __m512 centred = _mm512_fnmadd_ps(_mm512_loadu_ps(scratch.params.zero + c), p_sum, raw);
      float* const to = out + h * weigh.out_stride + c;
      _mm512_storeu_ps(to, _mm512_fmadd_ps(centred, _mm512_loadu_ps(scratch.params.scale + c),
                                           _mm512_loadu_ps(to)));
    }
  }
}

void WeighMeans(const AttentionTask& task, const float* means, const WeighArgs& weigh) {
  for (int h = 0; h < task.group; ++h) {
    const __m512 p_sum = _mm512_set1_ps(Sum(weigh.p + h * weigh.p_stride, kv::kBlockTokens));
    for (int c = 0; c < task.head_dim; c += 16) {
      float* const to = weigh.out + h * weigh.out_stride + c;
      _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_loadu_ps(means + c), p_sum, _mm512_loadu_ps(to)));
    }
  }
}

// One scale per token, then a factor per channel.
template <int kBits, typename Products>
void WeighDual(const AttentionTask& task, DecodeScratch<Products>& scratch, WeighArgs weigh) {
  float* const out = weigh.out;
  const int out_stride = weigh.out_stride;
  weigh.out = scratch.folded;
  weigh.out_stride = task.head_dim;
  Fill(0.0f, task.group * task.head_dim, scratch.folded);
  WeighPerToken<kBits>(task, scratch.params.scale, scratch.params.zero, 0, task.head_dim, scratch,
                       weigh);
  for (int h = 0; h < task.group; ++h) {
    for (int c = 0; c < task.head_dim; c += 16) {
      float* const to = out + h * out_stride + c;
      const __m512 level = _mm512_loadu_ps(scratch.folded + h * task.head_dim + c);
      _mm512_storeu_ps(to, _mm512_fmadd_ps(level, _mm512_loadu_ps(scratch.params.factor + c),
                                           _mm512_loadu_ps(to)));
    }
  }
}

template <int kBits, typename Products>
void WeighCodes(const AttentionTask& task, const TileFormat& format,
                DecodeScratch<Products>& scratch, WeighArgs weigh) {
  weigh.row_bytes = PairBytes<kBits>(task.head_dim);
  TileParams& params = scratch.params;
  switch (format.granularity) {
    case kv::Granularity::kPerChannel:
      return WeighPerChannel<kBits>(task, scratch, weigh);
    case kv::Granularity::kPerToken:
      if (format.extra == Extra::kMeans) WeighMeans(task, params.factor, weigh);
      if (format.extra == Extra::kFactors) return WeighDual<kBits>(task, scratch, weigh);
      for (int c = 0; c < task.head_dim; c += format.group_channels) {
        const int first = c / format.group_channels * kv::kBlockTokens;
        WeighPerToken<kBits>(task, params.scale + first, params.zero + first, c,
                             format.group_channels, scratch, weigh);
      }
      return;
    default:  // one scale for all: as if it were each token's
      Fill(params.scale[0], kv::kBlockTokens, params.scale);
      Fill(params.zero[0], kv::kBlockTokens, params.zero);
      WeighPerToken<kBits>(task, params.scale, params.zero, 0, task.head_dim, scratch, weigh);
  }
}

// Adds the piece's values, weighted by p [group, kScoreStride], to the states' outputs.
template <typename Products>
void WeighPiece(const AttentionTask& task, const TilePiece& piece, Slots slots,
                const std::byte* next, DecodeScratch<Products>& scratch, const float* p) {
  WeighArgs weigh = {.next = next,
                     .rows = kv::kBlockTokens / 2,
                     .p = p,
                     .p_stride = kScoreStride,
                     .out = task.states[0].o,
                     .out_stride = task.head_dim};
  const kv::CodecId codec = piece.layout->v_codec;
  if (codec == kv::CodecId::kBf16) return WeighBf16(task, piece, slots, scratch, weigh);
  const auto weigh_decoded = [&] {
    PrefetchBytes(next, 0, piece.layout->v_tile_bytes);
    weigh.next = nullptr;
    weigh.values = reinterpret_cast<const std::byte*>(scratch.decoded);
    weigh.row_bytes = PairBytes<32>(task.head_dim);
    scratch.products.template Weigh<32>(weigh, task.group, task.head_dim);
  };
  if (codec == kv::CodecId::kF32) {
    ReadOpenValues(task, piece, slots, GranuleFloats{scratch.decoded});
    return weigh_decoded();
  }
  weigh.values = piece.v_tile(task.kv_head);
  const TileFormat& format =
      FormatOf(scratch.v_format, codec, kv::Role::kValue, task.head_dim, task.v_range);
  if (!format.codes || !FitsUnits(format.bits, task.head_dim) ||
      !FitsUnits(format.bits, format.group_channels)) {
    DecodeToFloats({codec, kv::Role::kValue, task.v_range, task.head_dim, weigh.values},
                   scratch.decoded);
    return weigh_decoded();
  }
  LoadParams(format, weigh.values, scratch.params);
  PrefetchBytes(next, ElementBytes(format, task.head_dim), piece.layout->v_tile_bytes);
  switch (format.bits) {
    case 8:
      return WeighCodes<8>(task, format, scratch, weigh);
    case 6:
      return WeighCodes<6>(task, format, scratch, weigh);
    case 4:
      return WeighCodes<4>(task, format, scratch, weigh);
    case 3:
      return WeighCodes<3>(task, format, scratch, weigh);
    default:
      return WeighCodes<2>(task, format, scratch, weigh);
  }
}

}  // namespace
}  // namespace kvpareto::cpu
