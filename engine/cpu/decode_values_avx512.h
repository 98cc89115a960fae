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
    weigh_edge.ahead = nullptr;
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

// to += x.
inline void Accumulate(__m512 x, float* to) {
  _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), x));
}
// to += x y, rounded once: whether a compiler contracts a product and a sum depends on what is
// inlined, and results must not.
inline void Accumulate(__m512 x, __m512 y, float* to) {
  _mm512_storeu_ps(to, _mm512_fmadd_ps(x, y, _mm512_loadu_ps(to)));
}

// One scale per token (behind those of the channels before c) and `channels` channels from channel
// c on, then, if not null, a factor per channel. `following`: the values of the tile behind this
// one, of the same format, whose probabilities are the next; or null.
template <int kBits, typename Integers>
void WeighPerToken(const AttentionTask& task, const TileFormat& format, const float* factors, int c,
                   const std::byte* following, Integers& integers, const WeighArgs& weigh) {
  const int channels = format.group_channels;
  const size_t params = sizeof(uint16_t) * kv::kBlockTokens * (c / channels);
  const auto probabilities = [&](const float* p, const std::byte* values) {
    return FloatRows{.x = p,
                     .stride = weigh.p_stride,
                     .n = kv::kBlockTokens,
                     .scale = values + format.scale_offset + params,
                     .zero = values + format.zero_offset + params};
  };
  // A tile in groups of channels rounds for each of them.
  if (channels != task.head_dim) following = nullptr;
  const FloatRows behind =
      probabilities(weigh.p + kv::kBlockTokens, following == nullptr ? weigh.values : following);
  WeighCodes<kBits, true>(
      integers, probabilities(weigh.p, weigh.values), following == nullptr ? nullptr : &behind,
      {weigh.values + PairBytes<kBits>(c), weigh.ahead, weigh.row_bytes, weigh.rows}, task.group,
      channels, [&](int h, int column, const CodeSums& sums) {
        float* const to = weigh.out + h * weigh.out_stride + c + column;
        if (factors == nullptr) return Accumulate(sums.Centred(), to);
        Accumulate(sums.Centred(), _mm512_loadu_ps(factors + c + column), to);
      });
}

template <int kBits, typename Integers>
void WeighPerChannel(const AttentionTask& task, const TileParams& params, Integers& integers,
                     const WeighArgs& weigh) {
  WeighCodes<kBits, false>(integers,
                           {.x = weigh.p, .stride = weigh.p_stride, .n = kv::kBlockTokens}, nullptr,
                           {weigh.values, weigh.ahead, weigh.row_bytes, weigh.rows}, task.group,
                           task.head_dim, [&](int h, int c, const CodeSums& sums) {
                             const __m512 centred = sums.Centred(_mm512_loadu_ps(params.zero + c));
                             Accumulate(centred, _mm512_loadu_ps(params.scale + c),
                                        weigh.out + h * weigh.out_stride + c);
                           });
}

void WeighMeans(const AttentionTask& task, const float* means, const WeighArgs& weigh) {
  for (int h = 0; h < task.group; ++h) {
    const __m512 p_sum = _mm512_set1_ps(Sum(weigh.p + h * weigh.p_stride, kv::kBlockTokens));
    for (int c = 0; c < task.head_dim; c += 16) {
      Accumulate(_mm512_loadu_ps(means + c), p_sum, weigh.out + h * weigh.out_stride + c);
    }
  }
}

template <int kBits, typename Products>
void WeighTile(const AttentionTask& task, const TileFormat& format, const std::byte* following,
               DecodeScratch<Products>& scratch, WeighArgs weigh) {
  auto& integers = scratch.products.ForCodes(task.group);
  TileParams& params = scratch.params;
  weigh.row_bytes = PairBytes<kBits>(task.head_dim);
  if (format.granularity == kv::Granularity::kPerToken) {
    if (format.extra != Extra::kNone) LoadFactors(format, weigh.values, params);
    if (format.extra == Extra::kMeans) WeighMeans(task, params.factor, weigh);
    const float* const factors = format.extra == Extra::kFactors ? params.factor : nullptr;
    for (int c = 0; c < task.head_dim; c += format.group_channels) {
      WeighPerToken<kBits>(task, format, factors, c, following, integers, weigh);
    }
    return;
  }
  LoadParams(format, weigh.values, params);
  if (format.granularity != kv::Granularity::kPerChannel) {  // one for all: as if each channel's
    Fill(params.scale[0], task.head_dim, params.scale);
    Fill(params.zero[0], task.head_dim, params.zero);
  }
  WeighPerChannel<kBits>(task, params, integers, weigh);
}

// Adds the values of pieces[0], weighted by p [group, kScoreStride], to the states' outputs.
// `left`: pieces from it on.
template <typename Products>
void WeighPiece(const AttentionTask& task, const TilePiece* pieces, int left,
                DecodeScratch<Products>& scratch, const float* p) {
  const TilePiece& piece = pieces[0];
  WeighArgs weigh = {.ahead = &scratch.ahead,
                     .rows = kv::kBlockTokens / 2,
                     .p = p,
                     .p_stride = kScoreStride,
                     .out = task.states[0].o,
                     .out_stride = task.head_dim};
  const kv::CodecId codec = piece.layout->v_codec;
  const Slots slots = VisibleSlots(task, piece, task.first_position);
  if (codec == kv::CodecId::kBf16) return WeighBf16(task, piece, slots, scratch, weigh);
  const auto weigh_decoded = [&] {
    weigh.ahead = nullptr;
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
  AskForParams(format, task.head_dim, piece.layout->v_tile_bytes, scratch.ahead);
  const std::byte* const following =
      left > 1 && pieces[1].layout->v_codec == codec ? pieces[1].v_tile(task.kv_head) : nullptr;
  switch (format.bits) {
    case 8:
      return WeighTile<8>(task, format, following, scratch, weigh);
    case 6:
      return WeighTile<6>(task, format, following, scratch, weigh);
    case 4:
      return WeighTile<4>(task, format, following, scratch, weigh);
    case 3:
      return WeighTile<3>(task, format, following, scratch, weigh);
    default:
      return WeighTile<2>(task, format, following, scratch, weigh);
  }
}

}  // namespace
}  // namespace kvpareto::cpu
