// Attention of one query row, all query heads of a KV head together. Quantized tiles are never
// decoded: the products run on the codes, and scales and zero points are applied to the smaller
// side, in f32. With x~ = (code - zero) * scale:
//   keys per channel      q'[c] = q[c] * scale[c];  score = q' . codes - q' . zeros
//   keys per token        score = scale[t] * (q . codes - zero[t] * sum(q)), group by group
//   values per token      p'[t] = p[t] * scale[t];  out += p' . codes - p' . zeros
//   values per channel    out += scale[c] * (p . codes - zero[c] * sum(p))
// A dual-axis tile has keys per channel, values per token, and a factor for each of the other axis:
// scores are multiplied by factor[t], what is added to out by factor[c]. A smoothed tile's means
// add q . mean to all scores, and mean[c] * sum(p) to out.
//
// `Products` computes the two products, to f32 accuracy or, on codes, to that of 16-bit integers
// (integer_rows_avx512.h):
//   void Begin()                                            before a task
//   void Dot<kBits>(const DotArgs&, heads)                  as DotHeads
//   void Weigh<kBits>(const WeighArgs&, heads, channels)    as WeighChannels
// Everything is in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include <cstring>

#include "engine/cpu/attention_row_avx512.h"
#include "engine/cpu/key_bias_avx512.h"
#include "engine/cpu/open_tile_avx512.h"

namespace kvpareto::cpu {
namespace {

// Pieces whose scores are held at once; a split rarely has more than 9.
constexpr int kRoundPieces = 16;
constexpr int kScoreStride = kRoundPieces * kv::kBlockTokens;

// How the tiles of a codec are laid out; a task meets few codecs.
struct KnownFormat {
  kv::CodecId codec;  // kBf16: none yet
  TileFormat format;
};

const TileFormat& FormatOf(KnownFormat& known, kv::CodecId codec, kv::Role role, int head_dim,
                           kv::StaticRange range) {
  if (known.codec != codec) known = {codec, DescribeTile(codec, role, head_dim, range)};
  return known.format;
}

// Scratch of one task. The thread's bytes hold the struct, then the arrays that depend on the
// group.
template <typename Products>
struct DecodeScratch {
  TileParams params;
  Products products;
  KnownFormat k_format, v_format;
  alignas(64) float decoded[kv::kBlockTokens * kMaxHeadDim];  // granules, for unfused codecs
  alignas(64) uint16_t keys[kv::kBlockTokens * kMaxHeadDim];  // bf16 keys of a low tile, widened
  alignas(64) uint16_t edge[2 * kMaxHeadDim];                 // a row of values with one slot valid
  float* q;                                                   // [group, head_dim], scaled
  float* folded;  // [group, head_dim]: q' of keys per channel; raw sums of values per channel
  float* scores;  // [group, kScoreStride]; probabilities after the softmax
  float* tile;    // [group, kBlockTokens]: raw scores of a group, or p'
};

size_t GroupFloats(int group, int head_dim) {
  return static_cast<size_t>(group) * (2 * head_dim + kScoreStride + kv::kBlockTokens);
}

template <typename Products>
DecodeScratch<Products>& Carve(std::byte* bytes, int group, int head_dim) {
  auto& scratch = *reinterpret_cast<DecodeScratch<Products>*>(bytes);
  scratch.q = reinterpret_cast<float*>(bytes + sizeof(scratch));
  scratch.folded = scratch.q + group * head_dim;
  scratch.scores = scratch.folded + group * head_dim;
  scratch.tile = scratch.scores + group * kScoreStride;
  return scratch;
}

float Sum(const float* x, int n) {
  __m512 sum = _mm512_setzero_ps();
  for (int i = 0; i < n; i += 16) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + i));
  return _mm512_reduce_add_ps(sum);
}

float SumOfProducts(const float* a, const float* b, int n) {
  __m512 sum = _mm512_setzero_ps();
  for (int i = 0; i < n; i += 16) {
    sum = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

// to[i] = a[i] * b[i]; returns the sum of to[i] * c[i].
float MultiplyAndDot(const float* a, const float* b, const float* c, int n, float* to) {
  __m512 sum = _mm512_setzero_ps();
  for (int i = 0; i < n; i += 16) {
    const __m512 product = _mm512_mul_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i));
    _mm512_storeu_ps(to + i, product);
    sum = _mm512_fmadd_ps(product, _mm512_loadu_ps(c + i), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

void AddScalar(float x, int n, float* to) {
  for (int i = 0; i < n; i += 16) {
    _mm512_storeu_ps(to + i, _mm512_add_ps(_mm512_loadu_ps(to + i), _mm512_set1_ps(x)));
  }
}

void Multiply(const float* factors, int n, float* to) {
  for (int i = 0; i < n; i += 16) {
    _mm512_storeu_ps(to + i, _mm512_mul_ps(_mm512_loadu_ps(to + i), _mm512_loadu_ps(factors + i)));
  }
}

// What the tile after this one takes from memory while this one is computed on. The products
// prefetch its elements row by row; its parameters, behind them, are asked for at once, and so is
// all of it when the products do not read this tile in place.
const std::byte* NextKeys(const AttentionTask& task, const TilePiece* piece) {
  // A window's rows are far apart.
  if (piece == nullptr || piece->layout->tile_tokens > kv::kBlockTokens) return nullptr;
  return piece->k_tile(task.kv_head);
}

const std::byte* NextValues(const AttentionTask& task, const TilePiece* piece) {
  if (piece == nullptr || piece->layout->tile_tokens > kv::kBlockTokens) return nullptr;
  return piece->v_tile(task.kv_head);
}

void PrefetchBytes(const std::byte* from, size_t first, size_t last) {
  if (from == nullptr) return;
  for (size_t i = first / 64 * 64; i < last; i += 64) _mm_prefetch(from + i, _MM_HINT_T1);
}

// Bytes of a tile's elements; parameters follow.
size_t ElementBytes(const TileFormat& format, int head_dim) {
  return static_cast<size_t>(kv::kBlockTokens) * head_dim * format.bits / 8;
}

// --- Scores ---

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

// --- Values ---

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

template <typename Products>
size_t DecodeScratchBytes(int group, int head_dim) {
  return sizeof(DecodeScratch<Products>) + sizeof(float) * GroupFloats(group, head_dim);
}

// Scores of all heads against `count` pieces, masked; the values of the first of them come next.
template <typename Products>
void ScorePieces(const AttentionTask& task, const TilePiece* pieces, int count,
                 DecodeScratch<Products>& scratch) {
  for (int i = 0; i < count; ++i) {
    const std::byte* const next =
        i + 1 < count ? NextKeys(task, &pieces[i + 1]) : NextValues(task, pieces);
    float* const scores = scratch.scores + i * kv::kBlockTokens;
    ScorePiece(task, pieces[i], next, scratch, scores);
    if (task.bias_q != nullptr) {
      AddBias(task, AnglesOf(task.angles, pieces[i].position, scratch.decoded), 0, task.group,
              scores, kScoreStride);
    }
    const Slots slots = VisibleSlots(task, pieces[i], task.first_position);
    for (int h = 0; h < task.group; ++h) MaskScores(slots, scores + h * kScoreStride);
  }
}

// Adds the pieces' values; the keys of `after`, if any, come next.
template <typename Products>
void WeighPieces(const AttentionTask& task, const TilePiece* pieces, int count,
                 const TilePiece* after, DecodeScratch<Products>& scratch) {
  for (int i = 0; i < count; ++i) {
    const std::byte* const next =
        i + 1 < count ? NextValues(task, &pieces[i + 1]) : NextKeys(task, after);
    WeighPiece(task, pieces[i], VisibleSlots(task, pieces[i], task.first_position), next, scratch,
               scratch.scores + i * kv::kBlockTokens);
  }
}

// The states' outputs are contiguous: [group, head_dim].
template <typename Products>
void DecodeAttention(const AttentionTask& task, std::byte* bytes) {
  DecodeScratch<Products>& scratch = Carve<Products>(bytes, task.group, task.head_dim);
  for (int i = 0; i < task.group * task.head_dim; i += 16) {
    _mm512_storeu_ps(scratch.q + i,
                     _mm512_mul_ps(_mm512_loadu_ps(task.q + i), _mm512_set1_ps(task.scale)));
  }
  Fill(0.0f, task.group * task.head_dim, task.states[0].o);
  scratch.products.Begin();
  scratch.k_format.codec = scratch.v_format.codec = kv::CodecId::kBf16;
  for (int first = 0; first < task.num_pieces; first += kRoundPieces) {
    const int left = task.num_pieces - first;
    const int count = left < kRoundPieces ? left : kRoundPieces;
    const TilePiece* const pieces = task.pieces + first;
    ScorePieces(task, pieces, count, scratch);
    for (int h = 0; h < task.group; ++h) {
      Softmax(scratch.scores + h * kScoreStride, count * kv::kBlockTokens, task.head_dim,
              task.states[h]);
    }
    WeighPieces(task, pieces, count, left > count ? pieces + count : nullptr, scratch);
  }
}

}  // namespace
}  // namespace kvpareto::cpu
