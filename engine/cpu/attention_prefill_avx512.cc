// Prefill attention in f32: tiles are decoded to floats once per block of query rows, then four
// rows at a time go through them.
#include "engine/cpu/attention_row_avx512.h"
#include "engine/cpu/attention_vector.h"
#include "engine/cpu/key_bias_avx512.h"
#include "engine/cpu/open_tile_avx512.h"

namespace kvpareto::cpu {
namespace {

// Query rows times heads per task: decoding a tile costs about as much as 5 rows' products on it.
constexpr int kStackedRows = 96;
constexpr int kRowsAtOnce = 4;

struct Scratch {
  float* keys;           // granules [head_dim / 2, kBlockTokens / 16]
  float* values;         // granules [kBlockTokens / 2, head_dim / 16]
  float* scores;         // [kRowsAtOnce, kBlockTokens]
  float* q;              // [rows * group, head_dim], scaled
  float* o;              // [rows * group, head_dim]
  SoftmaxState* states;  // [rows * group]
  float* angles;         // [kBlockTokens * head_dim], with a key bias only
};

size_t StackedRows(int group) { return static_cast<size_t>(group) * PrefillRowsAvx512(group, 0); }

Scratch Carve(std::byte* bytes, int group, int head_dim) {
  Scratch scratch;
  scratch.keys = reinterpret_cast<float*>(bytes);
  scratch.values = scratch.keys + kv::kBlockTokens * head_dim;
  scratch.scores = scratch.values + kv::kBlockTokens * head_dim;
  scratch.q = scratch.scores + kRowsAtOnce * kv::kBlockTokens;
  scratch.o = scratch.q + StackedRows(group) * head_dim;
  scratch.states = reinterpret_cast<SoftmaxState*>(scratch.o + StackedRows(group) * head_dim);
  scratch.angles = reinterpret_cast<float*>(scratch.states + StackedRows(group));
  return scratch;
}

void StoreGranule(const Pairs& values, float* to) {
  _mm512_store_ps(to, values.first);
  _mm512_store_ps(to + 16, values.second);
}

void DecodeKeys(const AttentionTask& task, const TilePiece& piece, float* out) {
  const std::byte* const tile = piece.k_tile(task.kv_head);
  const kv::CodecId codec = piece.layout->k_codec;
  if (codec == kv::CodecId::kF32) {
    return ReadOpenKeys(task, piece, {piece.begin, piece.end}, GranuleFloats{out});
  }
  if (codec != kv::CodecId::kBf16) {
    return DecodeToFloats({codec, kv::Role::kKey, task.k_range, task.head_dim, tile}, out);
  }
  for (int r = 0; r < task.head_dim / 2; ++r) {
    const std::byte* const row = tile + PairBytes<16>(r * piece.layout->tile_tokens + piece.window);
    for (int j = 0; j < kTileVectors; ++j, out += kGranule) {
      Pairs values[1] = {{_mm512_setzero_ps(), _mm512_setzero_ps()}};
      if (16 * j < piece.window_slots) Lanes<16>::Load(row + 64 * j, values);
      StoreGranule(values[0], out);
    }
  }
}

// Slots that hold nothing become zeros.
void DecodeValues(const AttentionTask& task, const TilePiece& piece, float* out) {
  const std::byte* const tile = piece.v_tile(task.kv_head);
  const kv::CodecId codec = piece.layout->v_codec;
  if (codec == kv::CodecId::kF32) {
    return ReadOpenValues(task, piece, {piece.begin, piece.end}, GranuleFloats{out});
  }
  if (codec != kv::CodecId::kBf16) {
    return DecodeToFloats({codec, kv::Role::kValue, task.v_range, task.head_dim, tile}, out);
  }
  const std::byte* from = tile + PairBytes<16>(piece.window / 2 * task.head_dim);
  for (int t = 0; t < kv::kBlockTokens; t += 2) {
    const auto valid = [&](int slot) {
      return static_cast<__mmask16>(slot >= piece.begin && slot < piece.end ? 0xffff : 0);
    };
    const __mmask16 first = valid(t);
    const __mmask16 second = valid(t + 1);
    for (int c = 0; c < task.head_dim; c += 16, from += 64, out += kGranule) {
      Pairs values[1] = {{_mm512_setzero_ps(), _mm512_setzero_ps()}};
      if (first | second) Lanes<16>::Load(from, values);
      StoreGranule({_mm512_maskz_mov_ps(first, values[0].first),
                    _mm512_maskz_mov_ps(second, values[0].second)},
                   out);
    }
  }
}

// Stacked rows [row, row + kRows) against the decoded piece.
template <int kRows>
void Attend(const AttentionTask& task, const TilePiece& piece, const PieceAngles& angles,
            const Scratch& scratch, int row) {
  Slots slots[kRows];
  bool any = false;
  for (int i = 0; i < kRows; ++i) {
    slots[i] = VisibleSlots(task, piece, task.first_position + (row + i) / task.group);
    any |= slots[i].end > slots[i].begin;
  }
  if (!any) return;
  const size_t first = static_cast<size_t>(row) * task.head_dim;
  DotRows<32, kRows>({.keys = reinterpret_cast<const std::byte*>(scratch.keys),
                      .row_bytes = PairBytes<32>(kv::kBlockTokens),
                      .rows = task.head_dim / 2,
                      .q = scratch.q + first,
                      .q_stride = task.head_dim,
                      .scores = scratch.scores,
                      .stride = kv::kBlockTokens});
  if (task.bias_q != nullptr) {
    AddBias(task, angles, row, kRows, scratch.scores, kv::kBlockTokens);
  }
  for (int i = 0; i < kRows; ++i) {
    float* const scores = scratch.scores + i * kv::kBlockTokens;
    MaskScores(slots[i], scores);
    Softmax(scores, kv::kBlockTokens, task.head_dim, scratch.states[row + i]);
  }
  const WeighArgs weigh = {.values = reinterpret_cast<const std::byte*>(scratch.values),
                           .row_bytes = PairBytes<32>(task.head_dim),
                           .rows = kv::kBlockTokens / 2,
                           .p = scratch.scores,
                           .p_stride = kv::kBlockTokens,
                           .out = scratch.o + first,
                           .out_stride = task.head_dim};
  WeighChannels<32>(weigh, kRows, task.head_dim);
}

void Start(const AttentionTask& task, const Scratch& scratch) {
  for (int row = 0; row < task.rows * task.group; ++row) {
    const float* const q = task.q + static_cast<size_t>(row / task.group) * task.q_stride +
                           row % task.group * task.head_dim;
    float* const o = scratch.o + static_cast<size_t>(row) * task.head_dim;
    float* const scaled = scratch.q + static_cast<size_t>(row) * task.head_dim;
    for (int c = 0; c < task.head_dim; c += 16) {
      _mm512_storeu_ps(scaled + c,
                       _mm512_mul_ps(_mm512_loadu_ps(q + c), _mm512_set1_ps(task.scale)));
    }
    Fill(0.0f, task.head_dim, o);
    scratch.states[row].m = -__builtin_inff();
    scratch.states[row].d = 0.0f;
    scratch.states[row].o = o;
  }
}

void Finish(const AttentionTask& task, const Scratch& scratch) {
  for (int row = 0; row < task.rows * task.group; ++row) {
    const SoftmaxState& state = scratch.states[row];
    float* const out = task.out + static_cast<size_t>(row / task.group) * task.out_stride +
                       row % task.group * task.head_dim;
    const __m512 inverse = _mm512_set1_ps(state.d > 0.0f ? 1.0f / state.d : 0.0f);
    for (int c = 0; c < task.head_dim; c += 16) {
      _mm512_storeu_ps(out + c, _mm512_mul_ps(_mm512_loadu_ps(state.o + c), inverse));
    }
  }
}

}  // namespace

int PrefillRowsAvx512(int group, int /*head_dim*/) {
  return group < kStackedRows ? kStackedRows / group : 1;
}

size_t PrefillScratchBytesAvx512(int group, int head_dim, bool key_bias) {
  const size_t floats = static_cast<size_t>(kv::kBlockTokens) * (2 * head_dim + kRowsAtOnce) +
                        2 * StackedRows(group) * head_dim +
                        (key_bias ? kv::kBlockTokens * head_dim : 0);
  return floats * sizeof(float) + StackedRows(group) * sizeof(SoftmaxState);
}

void PrefillAttentionAvx512(const AttentionTask& task, std::byte* bytes) {
  const Scratch scratch = Carve(bytes, task.group, task.head_dim);
  Start(task, scratch);
  const int rows = task.rows * task.group;
  for (int i = 0; i < task.num_pieces; ++i) {
    const TilePiece& piece = task.pieces[i];
    DecodeKeys(task, piece, scratch.keys);
    DecodeValues(task, piece, scratch.values);
    PieceAngles angles = {};
    if (task.bias_q != nullptr) angles = AnglesOf(task.angles, piece.position, scratch.angles);
    int row = 0;
    for (; row + kRowsAtOnce <= rows; row += kRowsAtOnce) {
      Attend<kRowsAtOnce>(task, piece, angles, scratch, row);
    }
    for (; row < rows; ++row) Attend<1>(task, piece, angles, scratch, row);
  }
  Finish(task, scratch);
}

}  // namespace kvpareto::cpu
