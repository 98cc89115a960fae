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
// `Products` computes the two products: of bf16 and f32 to f32 accuracy, and, with what it returns
// as `Integers` (integer_rows_avx512.h), of codes to that of 16-bit or 8-bit integers:
//   kTilesAhead                                             tiles are asked for so many ahead
//   kLowWindows                                             Dot<16> takes fewer tokens than a tile
//   void Begin(), End()                                     before and behind a task
//   void Dot<kBits>(const DotArgs&, heads)                  as DotHeads
//   void Weigh<kBits>(const WeighArgs&, heads, channels)    as WeighChannels
//   Integers& ForCodes(heads)                               ready for codes
// Everything is in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include "engine/cpu/decode_scores_avx512.h"
#include "engine/cpu/decode_values_avx512.h"

namespace kvpareto::cpu {
namespace {

template <typename Products>
size_t DecodeScratchBytes(int group, int head_dim) {
  return sizeof(DecodeScratch<Products>) + sizeof(float) * GroupFloats(group, head_dim);
}

// Scores of all heads against `count` pieces, masked.
template <typename Products>
void ScorePieces(const AttentionTask& task, const TilePiece* pieces, int count,
                 DecodeScratch<Products>& scratch) {
  for (int i = 0; i < count; ++i) {
    scratch.ahead.Rest();
    scratch.ahead = TileAt(task, pieces, count, i + Products::kTilesAhead);
    float* const scores = scratch.scores + i * kv::kBlockTokens;
    ScorePiece(task, pieces + i, count - i, scratch, scores);
    if (task.bias_q != nullptr) {
      AddBias(task, AnglesOf(task.angles, pieces[i].position, scratch.decoded), 0, task.group,
              scores, kScoreStride);
    }
    const Slots slots = VisibleSlots(task, pieces[i], task.first_position);
    for (int h = 0; h < task.group; ++h) MaskScores(slots, scores + h * kScoreStride);
  }
}

// Adds the pieces' values.
template <typename Products>
void WeighPieces(const AttentionTask& task, const TilePiece* pieces, int count,
                 DecodeScratch<Products>& scratch) {
  for (int i = 0; i < count; ++i) {
    scratch.ahead.Rest();
    scratch.ahead = TileAt(task, pieces, count, count + i + Products::kTilesAhead);
    WeighPiece(task, pieces + i, count - i, scratch, scratch.scores + i * kv::kBlockTokens);
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
  scratch.ahead = {nullptr, nullptr};
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
    WeighPieces(task, pieces, count, scratch);
  }
  scratch.ahead.Rest();
  scratch.products.End();
}

}  // namespace
}  // namespace kvpareto::cpu
