// What decode attention on vectors keeps for a task, and what its halves (decode_scores_avx512.h,
// decode_values_avx512.h) share. Everything is in an anonymous namespace (see
// tile_decode_avx512.h).
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

}  // namespace
}  // namespace kvpareto::cpu
