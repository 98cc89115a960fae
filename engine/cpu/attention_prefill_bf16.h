// Prefill attention in bf16 products with f32 sums. A task's query rows, times the heads that share
// the KV head, go through the keys in strips; a strip meets a few pieces at a time, and their
// scores and probabilities never leave the core's caches.
//
// `Products` computes the two products:
//   kRows                        rows of a block of A
//   kStrip                       rows of a strip, a multiple of kRows
//   kStackedRows                 query rows x heads per task
//   kRoundPieces                 pieces whose scores a strip holds at once
//   static void Score(const ScoreArgs&)
//   static void Weigh(const WeighStripArgs&)
// Everything is in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include "engine/cpu/attention_operands_bf16.h"
#include "engine/cpu/key_bias_bf16.h"

namespace kvpareto::cpu {
namespace {

// scores = sum over the terms of A B^T, for the rows of a strip and the first `tokens` slots (a
// multiple of kTileDepth) of a piece.
struct ScoreArgs {
  struct Term {
    const uint16_t* a;   // [kStrip / kRows, DepthSteps(head_dim), kRows, kTileDepth]
    const std::byte* b;  // [head_dim / 2, kBlockTokens] pairs
    size_t b_row_bytes;
  };
  const Term* terms = nullptr;
  int num_terms = 0;
  int head_dim = 0;
  int tokens = 0;
  float* scores = nullptr;  // [kStrip, tokens], `stride` floats apart
  int stride = 0;
};

// o += P V for the rows of a strip and `tokens` slots (a multiple of kTileDepth) of pieces.
struct WeighStripArgs {
  const uint16_t* p = nullptr;  // [kStrip / kRows, p_steps, kRows, kTileDepth]
  int p_steps = 0;
  const std::byte* const* values = nullptr;  // of each piece: [kBlockTokens / 2, head_dim] pairs
  int tokens = 0;
  int head_dim = 0;
  float* o = nullptr;  // [kStrip, head_dim]
};

template <typename Products>
class BlockPrefill {
 public:
  static int QueryRows(int group) {
    return group < Products::kStackedRows ? Products::kStackedRows / group : 1;
  }

  static size_t ScratchBytes(int group, int head_dim, bool key_bias) {
    BlockPrefill counted;
    return counted.Carve(nullptr, group, head_dim, key_bias);
  }

  static void Run(const AttentionTask& task, std::byte* scratch) {
    BlockPrefill prefill;
    prefill.task_ = &task;
    prefill.Carve(scratch, task.group, task.head_dim, task.bias_q != nullptr);
    prefill.Start();
    for (int first = 0; first < task.num_pieces; first += kRoundPieces) prefill.RunRound(first);
    prefill.Finish();
  }

 private:
  static constexpr int kRows = Products::kRows;
  static constexpr int kStrip = Products::kStrip;
  static constexpr int kRoundPieces = Products::kRoundPieces;
  static constexpr int kRoundTokens = kRoundPieces * kv::kBlockTokens;
  static constexpr int kRoundSteps = kRoundTokens / kTileDepth;
  // Rows of scores are a power of two of bytes plus one line, so that they spread over cache sets.
  static constexpr int kScoreStride = kRoundTokens + 16;

  // A strip of stacked rows and the pieces of the round that it sees.
  struct Strip {
    int first_row = 0;       // stacked
    int first_position = 0;  // of its first row
    int last_position = 0;   // of its last row that exists
    int first_piece = 0;     // in the round
    int tokens = 0;          // from the first slot of that piece on; a multiple of kTileDepth
  };

  // K and V of one piece as B operands.
  struct PieceView {
    const std::byte* keys;
    size_t key_row_bytes;
    const uint16_t* angles;  // of SplitAngles; null without a key bias
  };

  // Lays the arrays out from `bytes` on; returns the bytes used. With null it only counts.
  size_t Carve(std::byte* bytes, int group, int head_dim, bool key_bias) {
    rows_ = (group * QueryRows(group) + kStrip - 1) / kStrip * kStrip;
    size_t used = 0;
    const auto take = [&]<typename T>(T*& array, size_t count) {
      array = reinterpret_cast<T*>(bytes + used);
      used += (count * sizeof(T) + 63) / 64 * 64;
    };
    const size_t rows = rows_;
    const size_t row_elements = DepthSteps(head_dim) * kTileDepth;
    take(o_, rows * head_dim);
    take(sums_, rows * 16);
    take(max_, rows);
    take(scores_, size_t{kStrip} * kScoreStride);
    take(q_, rows * row_elements);
    take(p_, size_t{kStrip} * kRoundTokens);
    take(keys_, size_t{kRoundTokens} * head_dim);
    take(values_, size_t{kRoundTokens} * head_dim);
    if (!key_bias) return used;
    bias_part_ = rows * row_elements;
    take(bias_, 2 * bias_part_);
    take(angles_, size_t{2 * kRoundTokens} * head_dim);
    take(gathered_, size_t{kv::kBlockTokens} * head_dim);
    return used;
  }

  void Start() {
    rows_ = (task_->rows * task_->group + kStrip - 1) / kStrip * kStrip;
    PackQueries<kRows>(*task_, rows_, q_);
    if (task_->bias_q != nullptr) PackBiasRows<kRows>(*task_, rows_, bias_part_, bias_);
    Fill(0.0f, rows_ * task_->head_dim, o_);
    Fill(0.0f, rows_ * 16, sums_);
    Fill(-__builtin_inff(), rows_, max_);
  }

  // All strips against pieces [first, first + kRoundPieces) of the task.
  void RunRound(int first) {
    pieces_ = task_->pieces + first;
    const int left = task_->num_pieces - first;
    num_pieces_ = left < kRoundPieces ? left : kRoundPieces;
    for (int i = 0; i < num_pieces_; ++i) ViewPiece(i);
    for (int row = 0; row < rows_; row += kStrip) {
      const Strip strip = MakeStrip(row);
      if (strip.tokens > 0) RunStrip(strip);
    }
  }

  void ViewPiece(int i) {
    const size_t offset = static_cast<size_t>(i) * kv::kBlockTokens * task_->head_dim;
    PieceView& view = views_[i];
    view.keys = ViewKeys(*task_, pieces_[i], keys_ + offset, view.key_row_bytes);
    piece_values_[i] = ViewValues(*task_, pieces_[i], values_ + offset);
    view.angles = nullptr;
    if (task_->bias_q == nullptr) return;
    SplitAngles(AnglesOf(task_->angles, pieces_[i].position, gathered_), task_->head_dim,
                angles_ + 2 * offset);
    view.angles = angles_ + 2 * offset;
  }

  // Only pieces that any row of the strip sees, and of the last one only steps of its slots.
  Strip MakeStrip(int first_row) const {
    const int rows = task_->rows * task_->group;
    const int last_row = first_row + kStrip < rows ? first_row + kStrip - 1 : rows - 1;
    Strip strip = {.first_row = first_row,
                   .first_position = task_->first_position + first_row / task_->group,
                   .last_position = task_->first_position + last_row / task_->group};
    const auto gone = [&](const TilePiece& piece) {
      return task_->sliding_window > 0 &&
             piece.position + piece.end <= strip.first_position - task_->sliding_window + 1;
    };
    const auto future = [&](const TilePiece& piece) {
      return piece.position + piece.begin > strip.last_position;
    };
    int first = 0, end = num_pieces_;
    while (first < end && gone(pieces_[first])) ++first;
    while (first < end && future(pieces_[end - 1])) --end;
    strip.first_piece = first;
    if (first == end) return strip;
    const TilePiece& last = pieces_[end - 1];
    const int newest = strip.last_position + 1 - last.position;
    const int slots = newest < last.end ? newest : last.end;
    strip.tokens = (end - 1 - first) * kv::kBlockTokens + DepthSteps(slots) * kTileDepth;
    return strip;
  }

  void RunStrip(const Strip& strip) {
    for (int t = 0, i = strip.first_piece; t < strip.tokens; t += kv::kBlockTokens, ++i) {
      const int left = strip.tokens - t;
      Score(strip, views_[i], left < kv::kBlockTokens ? left : kv::kBlockTokens, scores_ + t);
    }
    for (int t = 0, i = strip.first_piece; t < strip.tokens; t += kv::kBlockTokens, ++i) {
      Mask(strip, pieces_[i], scores_ + t);
    }
    Softmax(strip);
    Products::Weigh({.p = p_,
                     .p_steps = kRoundSteps,
                     .values = piece_values_ + strip.first_piece,
                     .tokens = strip.tokens,
                     .head_dim = task_->head_dim,
                     .o = o_ + static_cast<size_t>(strip.first_row) * task_->head_dim});
  }

  void Score(const Strip& strip, const PieceView& view, int tokens, float* scores) const {
    constexpr size_t kAngleRowBytes = PairBytes<16>(kv::kBlockTokens);
    const int head_dim = task_->head_dim;
    const size_t first = OperandIndex<kRows>(strip.first_row, 0, DepthSteps(head_dim));
    ScoreArgs::Term terms[4] = {{q_ + first, view.keys, view.key_row_bytes}};
    int num_terms = 1;
    if (view.angles != nullptr) {
      const uint16_t* const bias = bias_ + first;
      const auto* const high = reinterpret_cast<const std::byte*>(view.angles);
      const auto* const low = high + head_dim / 2 * kAngleRowBytes;
      terms[num_terms++] = {bias, high, kAngleRowBytes};
      terms[num_terms++] = {bias, low, kAngleRowBytes};
      terms[num_terms++] = {bias + bias_part_, high, kAngleRowBytes};
    }
    Products::Score({.terms = terms,
                     .num_terms = num_terms,
                     .head_dim = head_dim,
                     .tokens = tokens,
                     .scores = scores,
                     .stride = kScoreStride});
  }

  // Whether every row of the strip sees every slot of the piece.
  bool SeesAll(const Strip& strip, const TilePiece& piece) const {
    const Slots first = VisibleSlots(*task_, piece, strip.first_position);
    const Slots last = VisibleSlots(*task_, piece, strip.last_position);
    return first.begin == 0 && last.begin == 0 && first.end == kv::kBlockTokens &&
           last.end == kv::kBlockTokens;
  }

  void Mask(const Strip& strip, const TilePiece& piece, float* scores) const {
    if (SeesAll(strip, piece)) return;
    for (int r = 0; r < kStrip; ++r) {
      const int position = task_->first_position + (strip.first_row + r) / task_->group;
      MaskScores(VisibleSlots(*task_, piece,
                              position < strip.last_position ? position : strip.last_position),
                 scores + r * kScoreStride);
    }
  }

  // Multiplies a row's output by `keep` lane by lane.
  void Rescale(int row, __m512 keep) const {
    float* const o = o_ + static_cast<size_t>(row) * task_->head_dim;
    for (int c = 0; c < task_->head_dim; c += 16) {
      _mm512_storeu_ps(o + c, _mm512_mul_ps(_mm512_loadu_ps(o + c), keep));
    }
  }

  // Online softmax of the strip's scores: probabilities become the A operand of the next product.
  void Softmax(const Strip& strip) const {
    // The score scale times log2(e): the exponential is a power of two.
    const float scale = task_->scale * kLog2E;
    const __m512 scales = _mm512_set1_ps(scale);
    for (int r = 0; r < kStrip; ++r) {
      const float* const scores = scores_ + r * kScoreStride;
      const int row = strip.first_row + r;
      __m512 max_lanes = _mm512_loadu_ps(scores);
      for (int t = 16; t < strip.tokens; t += 16) {
        max_lanes = _mm512_max_ps(max_lanes, _mm512_loadu_ps(scores + t));
      }
      const float before = max_[row];
      const float seen = _mm512_reduce_max_ps(max_lanes);
      __m512 sum = _mm512_load_ps(sums_ + row * 16);
      float max = before;
      if (seen > before) {
        max = max_[row] = seen;
        const __m512 keep =
            Exp2(_mm512_mul_ps(_mm512_sub_ps(_mm512_set1_ps(before), _mm512_set1_ps(max)), scales));
        sum = _mm512_mul_ps(sum, keep);
        Rescale(row, keep);
      }
      // A row that has seen nothing yet has only scores of -inf: any finite shift gives zeros.
      const __m512 shift = _mm512_set1_ps(max == -__builtin_inff() ? 0.0f : -max * scale);
      uint16_t* p = p_ + OperandIndex<kRows>(r, 0, kRoundSteps);
      for (int t = 0; t < strip.tokens; t += kTileDepth, p += kRows * kTileDepth) {
        const __m512 low = Exp2(_mm512_fmadd_ps(_mm512_loadu_ps(scores + t), scales, shift));
        const __m512 high = Exp2(_mm512_fmadd_ps(_mm512_loadu_ps(scores + t + 16), scales, shift));
        sum = _mm512_add_ps(sum, _mm512_add_ps(low, high));
        _mm512_store_si512(p, (__m512i)_mm512_cvtne2ps_pbh(high, low));
      }
      _mm512_store_ps(sums_ + row * 16, sum);
    }
  }

  void Finish() const {
    for (int row = 0; row < task_->rows * task_->group; ++row) {
      const float sum = _mm512_reduce_add_ps(_mm512_load_ps(sums_ + row * 16));
      const __m512 inverse = _mm512_set1_ps(sum > 0.0f ? 1.0f / sum : 0.0f);
      const float* const o = o_ + static_cast<size_t>(row) * task_->head_dim;
      float* const out = task_->out + static_cast<size_t>(row / task_->group) * task_->out_stride +
                         row % task_->group * task_->head_dim;
      for (int c = 0; c < task_->head_dim; c += 16) {
        _mm512_storeu_ps(out + c, _mm512_mul_ps(_mm512_loadu_ps(o + c), inverse));
      }
    }
  }

  const AttentionTask* task_ = nullptr;
  int rows_ = 0;  // stacked, whole strips
  // Of the round:
  const TilePiece* pieces_ = nullptr;
  int num_pieces_ = 0;
  PieceView views_[kRoundPieces];
  const std::byte* piece_values_[kRoundPieces];
  // Scratch:
  float* o_;          // [rows_, head_dim]
  float* sums_;       // [rows_, 16]: lanes of the softmax denominator
  float* max_;        // [rows_]: largest raw score (before the scale)
  float* scores_;     // [kStrip, kScoreStride]
  uint16_t* q_;       // A operand of rows_
  uint16_t* p_;       // A operand: [kStrip / kRows, kRoundSteps, kRows, kTileDepth]
  uint16_t* keys_;    // [kRoundPieces, kBlockTokens * head_dim] decoded
  uint16_t* values_;  // [kRoundPieces, kBlockTokens * head_dim] decoded
  // With a key bias only:
  uint16_t* bias_;        // of PackBiasRows
  size_t bias_part_ = 0;  // elements of one part
  uint16_t* angles_;      // [kRoundPieces, 2 * kBlockTokens * head_dim] of SplitAngles
  float* gathered_;       // [kBlockTokens * head_dim]
};

}  // namespace
}  // namespace kvpareto::cpu
