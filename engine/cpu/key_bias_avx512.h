// The key bias term of scores on f32 vectors: one product of [A | B] of some query rows with the
// cosines and sines of a piece's 64 positions. Everything is in an anonymous namespace (see
// tile_decode_avx512.h).
#pragma once

#include "engine/cpu/attention_row_avx512.h"

namespace kvpareto::cpu {
namespace {

// The angles of kBlockTokens consecutive positions: kTileVectors groups of [head_dim, 16].
struct PieceAngles {
  const float* groups[kTileVectors];
};

// The group that holds `position`. Positions before 0 stand in slots that hold no token: any
// group's finite values will do.
inline const float* AngleGroup(const AngleView& view, int position) {
  constexpr int kGroups = kAngleChunkPositions / kAnglePositions;
  const int group = position < 0 ? 0 : position / kAnglePositions;
  return view.chunks[group / kGroups] +
         static_cast<size_t>(group % kGroups) * view.head_dim * kAnglePositions;
}

// Angles of the 16 positions from `position` on, where no group begins: [head_dim, 16].
inline void GatherAngles(const AngleView& view, int position, float* to) {
  const int offset = position & (kAnglePositions - 1);
  const float* const first = AngleGroup(view, position);
  const float* const second = AngleGroup(view, position + kAnglePositions);
  const __m512i lanes =
      _mm512_add_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                       _mm512_set1_epi32(offset));
  for (int i = 0; i < view.head_dim * kAnglePositions; i += kAnglePositions) {
    _mm512_storeu_ps(to + i, _mm512_permutex2var_ps(_mm512_loadu_ps(first + i), lanes,
                                                    _mm512_loadu_ps(second + i)));
  }
}

// `scratch`: [kBlockTokens * head_dim] floats, for pieces after a sink of no multiple of 16 tokens.
inline PieceAngles AnglesOf(const AngleView& view, int position, float* scratch) {
  PieceAngles angles;
  for (int j = 0; j < kTileVectors; ++j, position += kAnglePositions) {
    if (position % kAnglePositions == 0) {
      angles.groups[j] = AngleGroup(view, position);
      continue;
    }
    float* const to = scratch + j * kAnglePositions * view.head_dim;
    GatherAngles(view, position, to);
    angles.groups[j] = to;
  }
  return angles;
}

// [A | B] of a stacked row: query row times group, plus head.
inline const float* BiasRow(const AttentionTask& task, int stacked) {
  return task.bias_q + static_cast<size_t>(stacked / task.group) * task.bias_q_stride +
         stacked % task.group * task.head_dim;
}

// scores[i][t] += scale * sum over c of rows[i][c] * angles[c][t]
struct BiasArgs {
  const float* const* rows = nullptr;  // [A | B] of each query row
  int head_dim = 0;
  float scale = 1.0f;
  float* scores = nullptr;  // [rows, kBlockTokens], `stride` floats apart
  int stride = 0;
};

template <int kRows>
void AddBiasRows(const BiasArgs& args, const PieceAngles& angles) {
  __m512 sums[kRows][kTileVectors];
  for (auto& row : sums) {
    for (__m512& sum : row) sum = _mm512_setzero_ps();
  }
  for (int c = 0; c < args.head_dim; ++c) {
    __m512 angle[kTileVectors];
    for (int j = 0; j < kTileVectors; ++j) {
      angle[j] = _mm512_loadu_ps(angles.groups[j] + c * kAnglePositions);
    }
    for (int i = 0; i < kRows; ++i) {
      const __m512 factor = _mm512_set1_ps(args.rows[i][c]);
      for (int j = 0; j < kTileVectors; ++j) {
        sums[i][j] = _mm512_fmadd_ps(angle[j], factor, sums[i][j]);
      }
    }
  }
  const __m512 scale = _mm512_set1_ps(args.scale);
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kTileVectors; ++j) {
      float* const to = args.scores + i * args.stride + 16 * j;
      _mm512_storeu_ps(to, _mm512_fmadd_ps(sums[i][j], scale, _mm512_loadu_ps(to)));
    }
  }
}

// The term of stacked rows [row, row + rows); a row's sums do not depend on how many there are.
// scores: as in BiasArgs.
inline void AddBias(const AttentionTask& task, const PieceAngles& angles, int row, int rows,
                    float* scores, int stride) {
  while (rows > 0) {
    const float* pointers[4];
    const int count = rows < 4 ? rows : 4;
    for (int i = 0; i < count; ++i) pointers[i] = BiasRow(task, row + i);
    const BiasArgs args = {pointers, task.head_dim, task.scale, scores, stride};
    if (count == 4) AddBiasRows<4>(args, angles);
    if (count == 3) AddBiasRows<3>(args, angles);
    if (count == 2) AddBiasRows<2>(args, angles);
    if (count == 1) AddBiasRows<1>(args, angles);
    row += count;
    rows -= count;
    scores += count * stride;
  }
}

}  // namespace
}  // namespace kvpareto::cpu
