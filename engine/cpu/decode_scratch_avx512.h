// What decode attention on vectors keeps for a task, and what its halves (decode_scores_avx512.h,
// decode_values_avx512.h) share. Everything is in an anonymous namespace (see
// tile_decode_avx512.h).
#pragma once

#include <cstring>

#include "engine/cpu/attention_row_avx512.h"
#include "engine/cpu/integer_rows_avx512.h"
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
  PrefetchRun ahead;
  TileParams params;
  Products products;
  KnownFormat k_format, v_format;
  alignas(64) float decoded[kv::kBlockTokens * kMaxHeadDim];  // granules, for unfused codecs
  alignas(64) uint16_t keys[kv::kBlockTokens * kMaxHeadDim];  // bf16 keys of a low tile, widened
  alignas(64) uint16_t edge[2 * kMaxHeadDim];                 // a row of values with one slot valid
  float* q;                                                   // [group, head_dim], scaled
  float* scores;  // [group, kScoreStride]; probabilities after the softmax
};

size_t GroupFloats(int group, int head_dim) {
  return static_cast<size_t>(group) * (head_dim + kScoreStride);
}

template <typename Products>
DecodeScratch<Products>& Carve(std::byte* bytes, int group, int head_dim) {
  auto& scratch = *reinterpret_cast<DecodeScratch<Products>*>(bytes);
  scratch.q = reinterpret_cast<float*>(bytes + sizeof(scratch));
  scratch.scores = scratch.q + group * head_dim;
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

void AddScalar(float x, int n, float* to) {
  for (int i = 0; i < n; i += 16) {
    _mm512_storeu_ps(to + i, _mm512_add_ps(_mm512_loadu_ps(to + i), _mm512_set1_ps(x)));
  }
}

// The products of a tile's codes ask for as many lines as the codes have. Asks for the others, if
// the tile that is ahead is as large as this one.
void AskForParams(const TileFormat& format, int head_dim, size_t tile_bytes, PrefetchRun& ahead) {
  const size_t codes = static_cast<size_t>(kv::kBlockTokens) * head_dim * format.bits / 8;
  ahead.Lines(static_cast<int>((tile_bytes - codes + 63) / 64));
}

PrefetchRun KeysOf(const AttentionTask& task, const TilePiece& piece) {
  if (piece.layout->tile_tokens > kv::kBlockTokens) return {nullptr, nullptr};
  const std::byte* const tile = piece.k_tile(task.kv_head);
  return {tile, tile + piece.layout->k_tile_bytes};
}

PrefetchRun ValuesOf(const AttentionTask& task, const TilePiece& piece) {
  if (piece.layout->tile_tokens > kv::kBlockTokens) return {nullptr, nullptr};
  const std::byte* const tile = piece.v_tile(task.kv_head);
  return {tile, tile + piece.layout->v_tile_bytes};
}

// The tile of the keys, then the values, of `count` pieces, that comes `step`-th; behind them, the
// keys of what follows. Nothing if there is none, or it is a window, whose rows are far apart.
PrefetchRun TileAt(const AttentionTask& task, const TilePiece* pieces, int count, int step) {
  if (step < count) return KeysOf(task, pieces[step]);
  if (step < 2 * count) return ValuesOf(task, pieces[step - count]);
  const int behind = static_cast<int>(pieces - task.pieces) + step - count;
  if (behind < task.num_pieces) return KeysOf(task, task.pieces[behind]);
  const int after = behind - task.num_pieces;
  if (task.next == nullptr || after >= task.next->num_pieces) return {nullptr, nullptr};
  return KeysOf(*task.next, task.next->pieces[after]);
}

}  // namespace
}  // namespace kvpareto::cpu
