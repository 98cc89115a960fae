// Prefill attention on AMX tiles: bf16 operands, f32 sums. The element order of K and V tiles is
// the B operand's (kv/tile.h), so bf16 tiles are multiplied where they stand, and others once
// decoded to bf16. A task's query rows, times the heads that share the KV head, go through the keys
// in strips of 32 rows; a strip's scores never leave the L1 cache.
#include <cstring>

#include "engine/cpu/attention_row_avx512.h"
#include "engine/cpu/attention_tiles_amx.h"
#include "engine/cpu/attention_vector.h"
#include "engine/cpu/key_bias_amx.h"
#include "engine/cpu/open_tile_avx512.h"

namespace kvpareto::cpu {
namespace {

constexpr int kStackedRows = 256;  // query rows x heads per task
constexpr int kStrip = 2 * kTileRows;
constexpr int kRoundPieces = 4;  // pieces whose scores a strip holds at once
constexpr int kRoundTokens = kRoundPieces * kv::kBlockTokens;
// Rows of scores are a power of two of bytes plus one line, so that they spread over cache sets.
constexpr int kScoreStride = kRoundTokens + 16;
constexpr int kTileTokenSteps = kv::kBlockTokens / kTileDepth;

// K and V of one piece as B operands of kBlockTokens tokens.
struct TileView {
  const std::byte* keys;    // [head_dim / 2, kBlockTokens] pairs
  size_t key_row_bytes;     // between pairs of channels
  const std::byte* values;  // [kBlockTokens / 2, head_dim] pairs; unwritten slots are zero
  const uint16_t* angles;   // of SplitAngles; null without a key bias
};

struct Scratch {
  float* o;          // [strips * kStrip, head_dim]
  float* sums;       // [strips * kStrip, 16]: lanes of the softmax denominator
  float* max;        // [strips * kStrip]: largest raw score (before the scale)
  float* scores;     // [kStrip, kScoreStride]
  uint16_t* q;       // A operands: [strips * 2, DepthSteps, kTileRows, kTileDepth]
  uint16_t* p;       // A operands: [2, kRoundTokens / kTileDepth, kTileRows, kTileDepth]
  uint16_t* keys;    // [kRoundPieces, kBlockTokens * head_dim] decoded
  uint16_t* values;  // [kRoundPieces, kBlockTokens * head_dim] decoded
  // With a key bias only:
  uint16_t* bias;    // of PackBiasRows
  size_t bias_part;  // elements of one part
  uint16_t* angles;  // [kRoundPieces, 2 * kBlockTokens * head_dim] of SplitAngles
  float* gathered;   // [kBlockTokens * head_dim]
};

size_t PaddedRows(int group) {
  const size_t rows = static_cast<size_t>(group) * PrefillRowsAmx(group, 0);
  return (rows + kStrip - 1) / kStrip * kStrip;
}

// Carves the scratch from `bytes`; returns the bytes used. With null it only counts.
size_t Carve(std::byte* bytes, int group, int head_dim, bool key_bias, Scratch& scratch) {
  const size_t rows = PaddedRows(group);
  size_t used = 0;
  const auto take = [&]<typename T>(T*& array, size_t count) {
    array = reinterpret_cast<T*>(bytes + used);
    used += (count * sizeof(T) + 63) / 64 * 64;
  };
  take(scratch.o, rows * head_dim);
  take(scratch.sums, rows * 16);
  take(scratch.max, rows);
  take(scratch.scores, size_t{kStrip} * kScoreStride);
  take(scratch.q, rows * DepthSteps(head_dim) * kTileDepth);
  take(scratch.p, size_t{kStrip} * kRoundTokens);
  take(scratch.keys, size_t{kRoundTokens} * head_dim);
  take(scratch.values, size_t{kRoundTokens} * head_dim);
  if (!key_bias) return used;
  take(scratch.bias, 2 * BiasRowElements(rows, head_dim));
  take(scratch.angles, size_t{2 * kRoundTokens} * head_dim);
  take(scratch.gathered, size_t{kv::kBlockTokens} * head_dim);
  return used;
}

// --- Operands ---

// Query rows as A operands; rows beyond the task's are zero.
void PackQueries(const AttentionTask& task, const Scratch& scratch, int strips) {
  const int steps = DepthSteps(task.head_dim);
  for (int row = 0; row < strips * kStrip; ++row) {
    const bool real = row < task.rows * task.group;
    const float* const q = task.q + static_cast<size_t>(row / task.group) * task.q_stride +
                           row % task.group * task.head_dim;
    for (int s = 0; s < steps; ++s) {
      const int start = DepthStart(s, task.head_dim);
      const int repeated = s * kTileDepth - start;
      uint16_t* const to =
          scratch.q + (row / kTileRows * steps + s) * kTileElements + row % kTileRows * kTileDepth;
      __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
      if (real) {
        low = _mm512_maskz_loadu_ps(LaneMask(0, repeated, kTileDepth), q + start);
        high = _mm512_maskz_loadu_ps(LaneMask(16, repeated, kTileDepth), q + start + 16);
      }
      _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
  }
}

// A store that rounds granules to bf16 in element order, as DecodeToBf16 does.
struct ElementsBf16 {
  uint16_t* out;
  void operator()(int granule, const Pairs& values) const {
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(values.second, values.first);
    const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(halves));
    const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(halves, 1));
    _mm512_storeu_si512(out + granule * kGranule,
                        _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
};

const std::byte* ViewKeys(const AttentionTask& task, const TilePiece& piece, uint16_t* decoded,
                          size_t& row_bytes) {
  const std::byte* const tile = piece.k_tile(task.kv_head);
  const kv::CodecId codec = piece.layout->k_codec;
  std::byte* const out = reinterpret_cast<std::byte*>(decoded);
  row_bytes = PairBytes<16>(kv::kBlockTokens);
  if (codec == kv::CodecId::kF32) {
    ReadOpenKeys(task, piece, {piece.begin, piece.end}, ElementsBf16{decoded});
    return out;
  }
  if (codec != kv::CodecId::kBf16) {
    DecodeToBf16({codec, kv::Role::kKey, task.k_range, task.head_dim, tile}, decoded);
    return out;
  }
  const size_t tile_row_bytes = PairBytes<16>(piece.layout->tile_tokens);
  const std::byte* const window = tile + PairBytes<16>(piece.window);
  if (piece.window_slots == kv::kBlockTokens) {
    row_bytes = tile_row_bytes;
    return window;
  }
  std::memset(out, 0, row_bytes * (task.head_dim / 2));
  for (int r = 0; r < task.head_dim / 2; ++r) {
    std::memcpy(out + r * row_bytes, window + r * tile_row_bytes,
                PairBytes<16>(piece.window_slots));
  }
  return out;
}

// Unwritten slots may be NaN, which a probability of zero would not silence: they become zeros.
const std::byte* ViewValues(const AttentionTask& task, const TilePiece& piece, uint16_t* decoded) {
  const std::byte* const tile = piece.v_tile(task.kv_head);
  const kv::CodecId codec = piece.layout->v_codec;
  if (codec == kv::CodecId::kF32) {
    ReadOpenValues(task, piece, {piece.begin, piece.end}, ElementsBf16{decoded});
    return reinterpret_cast<const std::byte*>(decoded);
  }
  if (codec != kv::CodecId::kBf16) {
    DecodeToBf16({codec, kv::Role::kValue, task.v_range, task.head_dim, tile}, decoded);
    return reinterpret_cast<const std::byte*>(decoded);
  }
  const size_t row_bytes = PairBytes<16>(task.head_dim);
  const std::byte* const window = tile + piece.window / 2 * row_bytes;
  if (piece.begin == 0 && piece.end == kv::kBlockTokens) return window;
  std::byte* const out = reinterpret_cast<std::byte*>(decoded);
  for (int t = 0; t < kv::kBlockTokens; t += 2) {
    const bool first = t >= piece.begin && t < piece.end;
    const bool second = t + 1 >= piece.begin && t + 1 < piece.end;
    const __m512i keep = _mm512_set1_epi32(
        static_cast<int>((first ? 0x0000ffffu : 0u) | (second ? 0xffff0000u : 0u)));
    for (size_t i = t / 2 * row_bytes; i < (t / 2 + 1) * row_bytes; i += 64) {
      __m512i lanes = _mm512_setzero_si512();
      if (first || second) lanes = _mm512_and_si512(_mm512_loadu_si512(window + i), keep);
      _mm512_storeu_si512(out + i, lanes);
    }
  }
  return out;
}

// --- Strips ---

// A strip of stacked rows and the pieces of the round that it sees.
struct Strip {
  int first_row = 0;       // stacked
  int first_position = 0;  // of its first row
  int last_position = 0;   // of its last row that exists
  int first_piece = 0;     // in the round
  int num_pieces = 0;
};

// Sums += 32 rows of A times 32 columns of B, both `depth` deep.
void MultiplySteps(const uint16_t* a, const std::byte* b, size_t row_bytes, int depth) {
  const int steps = DepthSteps(depth);
  for (int s = 0; s < steps; ++s) {
    LoadA(a + s * kTileElements, a + (steps + s) * kTileElements);
    LoadB<2>(b + DepthStart(s, depth) / 2 * row_bytes, row_bytes);
    MultiplyAdd<2>();
  }
}

// Scores of a strip against one piece's kBlockTokens slots.
void Score(const Scratch& scratch, const Strip& strip, const TileView& view, int head_dim,
           float* scores) {
  constexpr size_t kAngleRowBytes = PairBytes<16>(kv::kBlockTokens);
  const size_t first = strip.first_row / kTileRows * DepthSteps(head_dim) * kTileElements;
  for (int t = 0; t < kv::kBlockTokens; t += 2 * kTileColumns) {
    ZeroSums();
    MultiplySteps(scratch.q + first, view.keys + PairBytes<16>(t), view.key_row_bytes, head_dim);
    if (view.angles != nullptr) {
      const uint16_t* const bias = scratch.bias + first;
      const auto* const high = reinterpret_cast<const std::byte*>(view.angles + 2 * t);
      const auto* const low = high + head_dim / 2 * kAngleRowBytes;
      MultiplySteps(bias, high, kAngleRowBytes, head_dim);
      MultiplySteps(bias, low, kAngleRowBytes, head_dim);
      MultiplySteps(bias + scratch.bias_part, high, kAngleRowBytes, head_dim);
    }
    StoreSums<2>(scores + t, kScoreStride);
  }
}

// O += P V for a strip, 32 (16) channels at a time.
template <int kColumns>
void WeighColumns(const Scratch& scratch, const Strip& strip, const TileView* views, int head_dim,
                  int channel) {
  float* const o = scratch.o + static_cast<size_t>(strip.first_row) * head_dim + channel;
  constexpr int kRowBlock = kRoundTokens / kTileDepth * kTileElements;
  const size_t row_bytes = PairBytes<16>(head_dim);
  LoadSums<kColumns>(o, head_dim);
  const uint16_t* p = scratch.p;
  for (int i = 0; i < strip.num_pieces; ++i) {
    const std::byte* values = views[strip.first_piece + i].values + PairBytes<16>(channel);
    for (int s = 0; s < kTileTokenSteps; ++s) {
      LoadA(p, p + kRowBlock);
      LoadB<kColumns>(values, row_bytes);
      MultiplyAdd<kColumns>();
      p += kTileElements;
      values += kTileDepth / 2 * row_bytes;
    }
  }
  StoreSums<kColumns>(o, head_dim);
}

void Weigh(const Scratch& scratch, const Strip& strip, const TileView* views, int head_dim) {
  int channel = 0;
  for (; channel + 2 * kTileColumns <= head_dim; channel += 2 * kTileColumns) {
    WeighColumns<2>(scratch, strip, views, head_dim, channel);
  }
  if (channel < head_dim) WeighColumns<1>(scratch, strip, views, head_dim, channel);
}

// Multiplies a row's output by `keep` lane by lane.
void Rescale(float* o, int head_dim, __m512 keep) {
  for (int c = 0; c < head_dim; c += 16) {
    _mm512_storeu_ps(o + c, _mm512_mul_ps(_mm512_loadu_ps(o + c), keep));
  }
}

// Online softmax of the strip's scores: probabilities become the A operand of the next product.
// `scale` is the score scale times log2(e): the exponential is a power of two.
void Softmax(const Scratch& scratch, const Strip& strip, int head_dim, float scale) {
  const int tokens = strip.num_pieces * kv::kBlockTokens;
  const __m512 scales = _mm512_set1_ps(scale);
  for (int r = 0; r < kStrip; ++r) {
    const float* const scores = scratch.scores + r * kScoreStride;
    const int row = strip.first_row + r;
    __m512 max_lanes = _mm512_loadu_ps(scores);
    for (int t = 16; t < tokens; t += 16) {
      max_lanes = _mm512_max_ps(max_lanes, _mm512_loadu_ps(scores + t));
    }
    const float before = scratch.max[row];
    const float seen = _mm512_reduce_max_ps(max_lanes);
    __m512 sum = _mm512_load_ps(scratch.sums + row * 16);
    float max = before;
    if (seen > before) {
      max = scratch.max[row] = seen;
      const __m512 keep =
          Exp2(_mm512_mul_ps(_mm512_sub_ps(_mm512_set1_ps(before), _mm512_set1_ps(max)), scales));
      sum = _mm512_mul_ps(sum, keep);
      Rescale(scratch.o + static_cast<size_t>(row) * head_dim, head_dim, keep);
    }
    // A row that has seen nothing yet has only scores of -inf: any finite shift gives zeros.
    const __m512 shift = _mm512_set1_ps(max == -__builtin_inff() ? 0.0f : -max * scale);
    uint16_t* p = scratch.p + r / kTileRows * (kRoundTokens / kTileDepth) * kTileElements +
                  r % kTileRows * kTileDepth;
    for (int t = 0; t < tokens; t += kTileDepth, p += kTileElements) {
      const __m512 low = Exp2(_mm512_fmadd_ps(_mm512_loadu_ps(scores + t), scales, shift));
      const __m512 high = Exp2(_mm512_fmadd_ps(_mm512_loadu_ps(scores + t + 16), scales, shift));
      sum = _mm512_add_ps(sum, _mm512_add_ps(low, high));
      _mm512_store_si512(p, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
    _mm512_store_ps(scratch.sums + row * 16, sum);
  }
}

// Whether every row of the strip sees every slot of the piece.
bool SeesAll(const AttentionTask& task, const Strip& strip, const TilePiece& piece) {
  const Slots first = VisibleSlots(task, piece, strip.first_position);
  const Slots last = VisibleSlots(task, piece, strip.last_position);
  return first.begin == 0 && last.begin == 0 && first.end == kv::kBlockTokens &&
         last.end == kv::kBlockTokens;
}

void Mask(const AttentionTask& task, const Strip& strip, const TilePiece& piece, float* scores) {
  if (SeesAll(task, strip, piece)) return;
  for (int r = 0; r < kStrip; ++r) {
    const int position = task.first_position + (strip.first_row + r) / task.group;
    MaskScores(
        VisibleSlots(task, piece, position < strip.last_position ? position : strip.last_position),
        scores + r * kScoreStride);
  }
}

// Narrows the strip to the pieces that any of its rows sees.
void NarrowPieces(const AttentionTask& task, const TilePiece* pieces, int num_pieces,
                  Strip& strip) {
  const auto gone = [&](const TilePiece& piece) {
    return task.sliding_window > 0 &&
           piece.position + piece.end <= strip.first_position - task.sliding_window + 1;
  };
  const auto future = [&](const TilePiece& piece) {
    return piece.position + piece.begin > strip.last_position;
  };
  int first = 0, end = num_pieces;
  while (first < end && gone(pieces[first])) ++first;
  while (first < end && future(pieces[end - 1])) --end;
  strip.first_piece = first;
  strip.num_pieces = end - first;
}

void RunStrip(const AttentionTask& task, const TilePiece* pieces, const TileView* views,
              const Strip& strip, const Scratch& scratch) {
  for (int i = 0; i < strip.num_pieces; ++i) {
    Score(scratch, strip, views[strip.first_piece + i], task.head_dim,
          scratch.scores + i * kv::kBlockTokens);
  }
  for (int i = 0; i < strip.num_pieces; ++i) {
    Mask(task, strip, pieces[strip.first_piece + i], scratch.scores + i * kv::kBlockTokens);
  }
  Softmax(scratch, strip, task.head_dim, task.scale * kLog2E);
  OrderMemory();
  Weigh(scratch, strip, views, task.head_dim);
}

Strip MakeStrip(const AttentionTask& task, int first_row) {
  const int last_row = first_row + kStrip < task.rows * task.group ? first_row + kStrip - 1
                                                                   : task.rows * task.group - 1;
  return {.first_row = first_row,
          .first_position = task.first_position + first_row / task.group,
          .last_position = task.first_position + last_row / task.group};
}

void Start(const AttentionTask& task, Scratch& scratch, int strips) {
  PackQueries(task, scratch, strips);
  const int rows = strips * kStrip;
  if (task.bias_q != nullptr) {
    scratch.bias_part = BiasRowElements(rows, task.head_dim);
    PackBiasRows(task, rows, scratch.bias);
  }
  Fill(0.0f, rows * task.head_dim, scratch.o);
  Fill(0.0f, rows * 16, scratch.sums);
  Fill(-__builtin_inff(), rows, scratch.max);
}

void Finish(const AttentionTask& task, const Scratch& scratch) {
  for (int row = 0; row < task.rows * task.group; ++row) {
    const float sum = _mm512_reduce_add_ps(_mm512_load_ps(scratch.sums + row * 16));
    const __m512 inverse = _mm512_set1_ps(sum > 0.0f ? 1.0f / sum : 0.0f);
    const float* const o = scratch.o + static_cast<size_t>(row) * task.head_dim;
    float* const out = task.out + static_cast<size_t>(row / task.group) * task.out_stride +
                       row % task.group * task.head_dim;
    for (int c = 0; c < task.head_dim; c += 16) {
      _mm512_storeu_ps(out + c, _mm512_mul_ps(_mm512_loadu_ps(o + c), inverse));
    }
  }
}

}  // namespace

int PrefillRowsAmx(int group, int /*head_dim*/) {
  return group < kStackedRows ? kStackedRows / group : 1;
}

size_t PrefillScratchBytesAmx(int group, int head_dim, bool key_bias) {
  Scratch scratch;
  return Carve(nullptr, group, head_dim, key_bias, scratch);
}

void PrefillAttentionAmx(const AttentionTask& task, std::byte* bytes) {
  Scratch scratch;
  Carve(bytes, task.group, task.head_dim, task.bias_q != nullptr, scratch);
  const int strips = (task.rows * task.group + kStrip - 1) / kStrip;
  Start(task, scratch, strips);
  const TileSession session;
  for (int first = 0; first < task.num_pieces; first += kRoundPieces) {
    const TilePiece* const pieces = task.pieces + first;
    const int left = task.num_pieces - first;
    const int num_pieces = left < kRoundPieces ? left : kRoundPieces;
    TileView views[kRoundPieces];
    for (int i = 0; i < num_pieces; ++i) {
      const size_t offset = static_cast<size_t>(i) * kv::kBlockTokens * task.head_dim;
      views[i].keys = ViewKeys(task, pieces[i], scratch.keys + offset, views[i].key_row_bytes);
      views[i].values = ViewValues(task, pieces[i], scratch.values + offset);
      views[i].angles = nullptr;
      if (task.bias_q == nullptr) continue;
      SplitAngles(AnglesOf(task.angles, pieces[i].position, scratch.gathered), task.head_dim,
                  scratch.angles + 2 * offset);
      views[i].angles = scratch.angles + 2 * offset;
    }
    OrderMemory();
    for (int s = 0; s < strips; ++s) {
      Strip strip = MakeStrip(task, s * kStrip);
      NarrowPieces(task, pieces, num_pieces, strip);
      if (strip.num_pieces > 0) RunStrip(task, pieces, views, strip, scratch);
    }
  }
  Finish(task, scratch);
}

}  // namespace kvpareto::cpu
