// Attention in plain C++: the definition that the vector kernels are tested against. Sums run in
// double, so its own error is far below theirs.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/base/float16.h"
#include "engine/cpu/attention_task.h"

namespace kvpareto::cpu {
namespace {

constexpr int kRows = 16;

// Scratch of one task, carved from the thread's bytes.
struct Scratch {
  double* m;  // [rows * group]
  double* d;  // [rows * group]
  double* o;  // [rows * group, head_dim]
  float* k;   // [kBlockTokens, head_dim]
  float* v;   // [kBlockTokens, head_dim]
};

size_t ScratchBytes(int group, int head_dim, bool /*key_bias*/) {
  return sizeof(double) * kRows * group * (head_dim + 2) +
         sizeof(float) * 2 * kv::kBlockTokens * head_dim;
}

Scratch Carve(std::byte* bytes, int group, int head_dim) {
  Scratch scratch;
  scratch.m = reinterpret_cast<double*>(bytes);
  scratch.d = scratch.m + kRows * group;
  scratch.o = scratch.d + kRows * group;
  scratch.k = reinterpret_cast<float*>(scratch.o + kRows * group * head_dim);
  scratch.v = scratch.k + kv::kBlockTokens * head_dim;
  return scratch;
}

struct TileRef {
  kv::Role role;
  kv::CodecId codec;
  const std::byte* data;
  kv::StaticRange range;
};

// Copies the valid slots of an open tile; the others are left as they are and never read.
template <typename Element, typename ToFloat>
void CopySlots(const TilePiece& piece, const TileRef& tile, int head_dim, ToFloat to_float,
               float* out) {
  const Element* elements = reinterpret_cast<const Element*>(tile.data);
  for (int t = piece.begin; t < piece.end; ++t) {
    for (int c = 0; c < head_dim; ++c) {
      out[t * head_dim + c] = to_float(elements[kv::ElementIndex(
          tile.role, piece.window + t, c, piece.layout->tile_tokens, head_dim)]);
    }
  }
}

void Decode(const TilePiece& piece, const TileRef& tile, int head_dim, float* out) {
  if (tile.codec == kv::CodecId::kBf16) {
    return CopySlots<uint16_t>(piece, tile, head_dim, Bf16ToFloat, out);
  }
  if (tile.codec == kv::CodecId::kF32) {
    return CopySlots<float>(
        piece, tile, head_dim, [](float x) { return x; }, out);
  }
  kv::DecodeTile(tile.codec, tile.role, head_dim, tile.range, tile.data, out);
}

// The term of a key at `position` that its stored part lacks.
double KeyBias(const AngleView& angles, const float* bias_q, int position) {
  constexpr int kGroups = kAngleChunkPositions / kAnglePositions;
  const int group = position / kAnglePositions;
  const float* const angle = angles.chunks[group / kGroups] +
                             group % kGroups * angles.head_dim * kAnglePositions +
                             position % kAnglePositions;
  double sum = 0.0;
  for (int c = 0; c < angles.head_dim; ++c) {
    sum += double{bias_q[c]} * angle[c * kAnglePositions];
  }
  return sum;
}

// Keys of the decoded tile.
struct Keys {
  int begin = 0, end = 0;  // slots
  int position = 0;        // of slot 0
};

// One query row of one head against some keys.
void Accumulate(const AttentionTask& task, int row, int head, const Keys& keys, Scratch& scratch) {
  const int head_dim = task.head_dim;
  const float* const q = task.q + static_cast<size_t>(row) * task.q_stride + head * head_dim;
  const float* const bias_q =
      task.bias_q == nullptr
          ? nullptr
          : task.bias_q + static_cast<size_t>(row) * task.bias_q_stride + head * head_dim;
  const int state = row * task.group + head;
  double& m = scratch.m[state];
  double& d = scratch.d[state];
  double* o = scratch.o + static_cast<size_t>(state) * head_dim;
  for (int t = keys.begin; t < keys.end; ++t) {
    double score = 0.0;
    for (int c = 0; c < head_dim; ++c) score += double{q[c]} * scratch.k[t * head_dim + c];
    if (bias_q != nullptr) score += KeyBias(task.angles, bias_q, keys.position + t);
    score *= task.scale;
    if (score > m) {
      const double keep = std::exp(m - score);  // exp(-inf) == 0 for the first key
      d *= keep;
      for (int c = 0; c < head_dim; ++c) o[c] *= keep;
      m = score;
    }
    const double p = std::exp(score - m);
    d += p;
    for (int c = 0; c < head_dim; ++c) o[c] += p * scratch.v[t * head_dim + c];
  }
}

void AccumulateAll(const AttentionTask& task, Scratch& scratch) {
  const int states = task.rows * task.group;
  std::fill_n(scratch.m, states, -std::numeric_limits<double>::infinity());
  std::fill_n(scratch.d, states, 0.0);
  std::fill_n(scratch.o, static_cast<size_t>(states) * task.head_dim, 0.0);
  for (int p = 0; p < task.num_pieces; ++p) {
    const TilePiece& piece = task.pieces[p];
    Decode(piece, {kv::Role::kKey, piece.layout->k_codec, piece.k_tile(task.kv_head), task.k_range},
           task.head_dim, scratch.k);
    Decode(piece,
           {kv::Role::kValue, piece.layout->v_codec, piece.v_tile(task.kv_head), task.v_range},
           task.head_dim, scratch.v);
    for (int i = 0; i < task.rows; ++i) {
      const int position = task.first_position + i;
      const int end = std::min(piece.end, position + 1 - piece.position);
      const int oldest = task.sliding_window > 0 ? position - task.sliding_window + 1 : 0;
      const int begin = std::max(piece.begin, oldest - piece.position);
      for (int g = 0; g < task.group; ++g) {
        Accumulate(task, i, g, {begin, end, piece.position}, scratch);
      }
    }
  }
}

void Prefill(const AttentionTask& task, std::byte* bytes) {
  Scratch scratch = Carve(bytes, task.group, task.head_dim);
  AccumulateAll(task, scratch);
  for (int r = 0; r < task.rows * task.group; ++r) {
    float* out = task.out + static_cast<size_t>(r / task.group) * task.out_stride +
                 r % task.group * task.head_dim;
    const double inverse = scratch.d[r] > 0.0 ? 1.0 / scratch.d[r] : 0.0;
    const double* o = scratch.o + static_cast<size_t>(r) * task.head_dim;
    for (int c = 0; c < task.head_dim; ++c) out[c] = static_cast<float>(o[c] * inverse);
  }
}

void DecodeRowStates(const AttentionTask& task, std::byte* bytes) {
  Scratch scratch = Carve(bytes, task.group, task.head_dim);
  AccumulateAll(task, scratch);
  for (int g = 0; g < task.group; ++g) {
    SoftmaxState& state = task.states[g];
    // m is rounded to float; d and o refer to the rounded one.
    state.m = static_cast<float>(scratch.m[g]);
    const double adjust = scratch.d[g] > 0.0 ? std::exp(scratch.m[g] - state.m) : 0.0;
    state.d = static_cast<float>(scratch.d[g] * adjust);
    const double* o = scratch.o + static_cast<size_t>(g) * task.head_dim;
    for (int c = 0; c < task.head_dim; ++c) state.o[c] = static_cast<float>(o[c] * adjust);
  }
}

int PrefillRows(int, int) { return kRows; }

}  // namespace

const AttentionKernels kScalarAttention = {PrefillRows, Prefill, DecodeRowStates, ScratchBytes};

}  // namespace kvpareto::cpu
