// Attention on AVX2, in f32: tiles are decoded to granules of floats once per task, then up to four
// stacked rows (query rows times heads) at a time go through them. Decoding one token is the same
// work with one query row, whose states are handed on.
#include "engine/cpu/attention_vector.h"
#include "engine/cpu/open_tile_avx2.h"

namespace kvpareto::cpu {
namespace {

constexpr int kStackedRows = 96;  // as on AVX-512
constexpr int kRowsAtOnce = 4;

// Slots of a piece that a query reads.
struct Slots {
  int begin = 0;
  int end = 0;
};

Slots VisibleSlots(const AttentionTask& task, const TilePiece& piece, int position) {
  const int newest = position + 1 - piece.position;
  const int oldest = task.sliding_window > 0 ? newest - task.sliding_window : piece.begin;
  const Slots slots = {oldest > piece.begin ? oldest : piece.begin,
                       newest < piece.end ? newest : piece.end};
  return slots.begin < slots.end ? slots : Slots{};
}

struct Scratch {
  float* keys;           // granules [head_dim / 2, kBlockTokens / 16]
  float* values;         // granules [kBlockTokens / 2, head_dim / 16]
  float* angles;         // [kBlockTokens / 16, head_dim, 16]
  float* scores;         // [kRowsAtOnce, kBlockTokens]
  float* q;              // [stacked rows, head_dim], scaled
  float* bias;           // [stacked rows, head_dim]: [A | B] of the key bias, scaled
  float* o;              // [stacked rows, head_dim]
  SoftmaxState* states;  // [stacked rows]
};

size_t StackedRows(int group) { return static_cast<size_t>(group) * PrefillRowsAvx2(group, 0); }

Scratch Carve(std::byte* bytes, int group, int head_dim) {
  const size_t tile = static_cast<size_t>(kv::kBlockTokens) * head_dim;
  const size_t rows = StackedRows(group) * head_dim;
  Scratch scratch;
  scratch.keys = reinterpret_cast<float*>(bytes);
  scratch.values = scratch.keys + tile;
  scratch.scores = scratch.values + tile;
  scratch.q = scratch.scores + kRowsAtOnce * kv::kBlockTokens;
  scratch.o = scratch.q + rows;
  scratch.states = reinterpret_cast<SoftmaxState*>(scratch.o + rows);
  scratch.angles = reinterpret_cast<float*>(scratch.states + StackedRows(group));
  scratch.bias = scratch.angles + tile;
  return scratch;
}

// out[i][l] += sum over r of x[i][2r] * first[r][l] + x[i][2r + 1] * second[r][l], for 16 lanes l:
// scores of 16 tokens (x: queries), the key bias of 16 tokens (x: [A | B]), or outputs of 16
// channels (x: probabilities).
struct ProductArgs {
  const float* granules = nullptr;  // [rows], `stride` floats apart
  int stride = 0;
  int rows = 0;
  const float* x = nullptr;  // [kRows, 2 * rows], x_stride floats apart
  int x_stride = 0;
  float* out = nullptr;  // [kRows, 16], out_stride floats apart
  int out_stride = 0;
};

// 8 sums, 4 vectors and a broadcast: 13 of 16 registers.
template <int kRows>
void AddProducts(const ProductArgs& args) {
  __m256 sums[kRows][2];
  for (int i = 0; i < kRows; ++i) {
    sums[i][0] = _mm256_loadu_ps(args.out + i * args.out_stride);
    sums[i][1] = _mm256_loadu_ps(args.out + i * args.out_stride + kLanes);
  }
  const float* granule = args.granules;
  const float* x = args.x;
  for (int r = 0; r < args.rows; ++r, granule += args.stride, x += 2) {
    const __m256 first[2] = {_mm256_loadu_ps(granule), _mm256_loadu_ps(granule + kLanes)};
    const __m256 second[2] = {_mm256_loadu_ps(granule + 16), _mm256_loadu_ps(granule + 24)};
    for (int i = 0; i < kRows; ++i) {
      const __m256 even = _mm256_broadcast_ss(x + i * args.x_stride);
      const __m256 odd = _mm256_broadcast_ss(x + i * args.x_stride + 1);
      for (int part = 0; part < 2; ++part) {
        sums[i][part] = _mm256_fmadd_ps(first[part], even, sums[i][part]);
        sums[i][part] = _mm256_fmadd_ps(second[part], odd, sums[i][part]);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    _mm256_storeu_ps(args.out + i * args.out_stride, sums[i][0]);
    _mm256_storeu_ps(args.out + i * args.out_stride + kLanes, sums[i][1]);
  }
}

// 2^t for t <= 0, relative error below 2e-7; exactly 0 for -inf and below 2^-126. 2^t = 2^floor(t)
// * 2^f with a minimax polynomial (relative error) for f in [0, 1).
__m256 Exp2(__m256 t) {
  t = _mm256_max_ps(_mm256_set1_ps(-127.0f), t);  // in this order, NaN stays NaN
  const __m256 n = _mm256_floor_ps(t);
  const __m256 f = _mm256_sub_ps(t, n);
  __m256 p = _mm256_set1_ps(0.0018775781f);
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.0089893425f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.05582631f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.24015363f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.69315308f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0.99999994f));
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}

void Scale(__m256 factor, int n, const float* from, float* to) {
  for (int i = 0; i < n; i += kLanes) {
    _mm256_storeu_ps(to + i, _mm256_mul_ps(_mm256_loadu_ps(from + i), factor));
  }
}

void Clear(int n, float* to) {
  for (int i = 0; i < n; i += kLanes) _mm256_storeu_ps(to + i, _mm256_setzero_ps());
}

// Turns the kBlockTokens scores of one row into probabilities relative to the state's new maximum,
// and brings the state up to it. Slots that the row does not see get 0.
void Softmax(Slots slots, int head_dim, float* scores, SoftmaxState& state) {
  for (int t = 0; t < slots.begin; ++t) scores[t] = -__builtin_inff();
  for (int t = slots.end; t < kv::kBlockTokens; ++t) scores[t] = -__builtin_inff();
  __m256 max = _mm256_set1_ps(state.m);
  for (int t = 0; t < kv::kBlockTokens; t += kLanes) {
    max = _mm256_max_ps(max, _mm256_loadu_ps(scores + t));
  }
  const float m = ReduceMax(max);
  if (m == -__builtin_inff()) return Clear(kv::kBlockTokens, scores);
  const __m256 log2e = _mm256_set1_ps(1.44269504f);
  if (m > state.m) {
    const __m256 fall = _mm256_sub_ps(_mm256_set1_ps(state.m), _mm256_set1_ps(m));
    const __m256 keep = Exp2(_mm256_mul_ps(fall, log2e));
    Scale(keep, head_dim, state.o, state.o);
    state.d *= _mm256_cvtss_f32(keep);
    state.m = m;
  }
  __m256 sum = _mm256_setzero_ps();
  for (int t = 0; t < kv::kBlockTokens; t += kLanes) {
    const __m256 fall = _mm256_sub_ps(_mm256_loadu_ps(scores + t), _mm256_set1_ps(m));
    const __m256 p = Exp2(_mm256_mul_ps(fall, log2e));
    sum = _mm256_add_ps(sum, p);
    _mm256_storeu_ps(scores + t, p);
  }
  state.d += ReduceAdd(sum);
}

// A whole tile without unreadable slots, which needs no masks.
bool IsWholeTile(const TilePiece& piece) {
  return piece.begin == 0 && piece.end == kv::kBlockTokens &&
         piece.layout->tile_tokens == kv::kBlockTokens;
}

void DecodeKeys(const AttentionTask& task, const TilePiece& piece, float* out) {
  const kv::CodecId codec = piece.layout->k_codec;
  if (codec == kv::CodecId::kF32) return ReadOpenKeys<float>(task, piece, out);
  if (codec == kv::CodecId::kBf16 && !IsWholeTile(piece)) {
    return ReadOpenKeys<uint16_t>(task, piece, out);
  }
  DecodeToFloatsAvx2(
      {codec, kv::Role::kKey, task.k_range, task.head_dim, piece.k_tile(task.kv_head)}, out);
}

void DecodeValues(const AttentionTask& task, const TilePiece& piece, float* out) {
  const kv::CodecId codec = piece.layout->v_codec;
  if (codec == kv::CodecId::kF32) return ReadOpenValues<float>(task, piece, out);
  if (codec == kv::CodecId::kBf16 && !IsWholeTile(piece)) {
    return ReadOpenValues<uint16_t>(task, piece, out);
  }
  DecodeToFloatsAvx2(
      {codec, kv::Role::kValue, task.v_range, task.head_dim, piece.v_tile(task.kv_head)}, out);
}

// The angles of the piece's slots, [kBlockTokens / 16, head_dim, 16]. Positions before 0 stand in
// slots that hold no token: any group's finite values will do.
void GatherAngles(const AngleView& view, const TilePiece& piece, float* out) {
  constexpr int kGroups = kAngleChunkPositions / kAnglePositions;
  const int group_floats = view.head_dim * kAnglePositions;
  for (int t = 0; t < kv::kBlockTokens; ++t) {
    const int position = piece.position + t < 0 ? 0 : piece.position + t;
    const int group = position / kAnglePositions;
    const float* from = view.chunks[group / kGroups] +
                        static_cast<size_t>(group % kGroups) * group_floats +
                        position % kAnglePositions;
    float* to = out + t / kAnglePositions * group_floats + t % kAnglePositions;
    for (int i = 0; i < group_floats; i += kAnglePositions) to[i] = from[i];
  }
}

// Stacked rows [row, row + kRows) against the decoded piece. A row's arithmetic does not depend on
// kRows.
template <int kRows>
void Attend(const AttentionTask& task, const TilePiece& piece, const Scratch& scratch, int row) {
  Slots slots[kRows];
  bool any = false;
  for (int i = 0; i < kRows; ++i) {
    slots[i] = VisibleSlots(task, piece, task.first_position + (row + i) / task.group);
    any |= slots[i].end > slots[i].begin;
  }
  if (!any) return;
  const int head_dim = task.head_dim;
  const size_t first = static_cast<size_t>(row) * head_dim;
  Clear(kRows * kv::kBlockTokens, scratch.scores);
  for (int t = 0; t < kv::kBlockTokens; t += 16) {
    ProductArgs product = {.granules = scratch.keys + 2 * t,
                           .stride = 2 * kv::kBlockTokens,
                           .rows = head_dim / 2,
                           .x = scratch.q + first,
                           .x_stride = head_dim,
                           .out = scratch.scores + t,
                           .out_stride = kv::kBlockTokens};
    AddProducts<kRows>(product);
    if (task.bias_q == nullptr) continue;
    product.granules = scratch.angles + t * head_dim;
    product.stride = kGranule;
    product.x = scratch.bias + first;
    AddProducts<kRows>(product);
  }
  for (int i = 0; i < kRows; ++i) {
    Softmax(slots[i], head_dim, scratch.scores + i * kv::kBlockTokens, scratch.states[row + i]);
  }
  for (int c = 0; c < head_dim; c += 16) {
    AddProducts<kRows>({.granules = scratch.values + 2 * c,
                        .stride = 2 * head_dim,
                        .rows = kv::kBlockTokens / 2,
                        .x = scratch.scores,
                        .x_stride = kv::kBlockTokens,
                        .out = scratch.o + first + c,
                        .out_stride = head_dim});
  }
}

void Start(const AttentionTask& task, const Scratch& scratch) {
  const __m256 scale = _mm256_set1_ps(task.scale);
  for (int row = 0; row < task.rows * task.group; ++row) {
    const size_t query = row / task.group;
    const int head = row % task.group * task.head_dim;
    const size_t at = static_cast<size_t>(row) * task.head_dim;
    Scale(scale, task.head_dim, task.q + query * task.q_stride + head, scratch.q + at);
    if (task.bias_q != nullptr) {
      Scale(scale, task.head_dim, task.bias_q + query * task.bias_q_stride + head,
            scratch.bias + at);
    }
    Clear(task.head_dim, scratch.o + at);
    scratch.states[row].m = -__builtin_inff();
    scratch.states[row].d = 0.0f;
    scratch.states[row].o = scratch.o + at;
  }
}

void AttendAll(const AttentionTask& task, const Scratch& scratch) {
  Start(task, scratch);
  const int rows = task.rows * task.group;
  for (int i = 0; i < task.num_pieces; ++i) {
    const TilePiece& piece = task.pieces[i];
    DecodeKeys(task, piece, scratch.keys);
    DecodeValues(task, piece, scratch.values);
    if (task.bias_q != nullptr) GatherAngles(task.angles, piece, scratch.angles);
    int row = 0;
    for (; row + kRowsAtOnce <= rows; row += kRowsAtOnce) {
      Attend<kRowsAtOnce>(task, piece, scratch, row);
    }
    if (rows - row == 3) Attend<3>(task, piece, scratch, row);
    if (rows - row == 2) Attend<2>(task, piece, scratch, row);
    if (rows - row == 1) Attend<1>(task, piece, scratch, row);
  }
}

}  // namespace

int PrefillRowsAvx2(int group, int /*head_dim*/) {
  return group < kStackedRows ? kStackedRows / group : 1;
}

size_t AttentionScratchBytesAvx2(int group, int head_dim, bool key_bias) {
  const size_t rows = StackedRows(group);
  size_t floats = static_cast<size_t>(kv::kBlockTokens) * (2 * head_dim + kRowsAtOnce);
  floats += 2 * rows * head_dim;
  if (key_bias) floats += (kv::kBlockTokens + rows) * head_dim;
  return floats * sizeof(float) + rows * sizeof(SoftmaxState);
}

void PrefillAttentionAvx2(const AttentionTask& task, std::byte* bytes) {
  const Scratch scratch = Carve(bytes, task.group, task.head_dim);
  AttendAll(task, scratch);
  for (int row = 0; row < task.rows * task.group; ++row) {
    const SoftmaxState& state = scratch.states[row];
    Scale(_mm256_set1_ps(state.d > 0.0f ? 1.0f / state.d : 0.0f), task.head_dim, state.o,
          task.out + static_cast<size_t>(row / task.group) * task.out_stride +
              row % task.group * task.head_dim);
  }
}

void DecodeAttentionAvx2(const AttentionTask& task, std::byte* bytes) {
  const Scratch scratch = Carve(bytes, task.group, task.head_dim);
  AttendAll(task, scratch);
  for (int h = 0; h < task.group; ++h) {
    task.states[h].m = scratch.states[h].m;
    task.states[h].d = scratch.states[h].d;
    Scale(_mm256_set1_ps(1.0f), task.head_dim, scratch.states[h].o, task.states[h].o);
  }
}

}  // namespace kvpareto::cpu
