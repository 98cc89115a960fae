#include "engine/cpu/attention_plan.h"

#include <algorithm>
#include <numeric>

#include "engine/base/check.h"

namespace kvpareto::cpu {
namespace {

// Query rows of one sequence.
struct TaskRows {
  int first_row = 0;
  int rows = 0;
  int position = 0;  // of the first
};

AttentionTask MakeTask(const AttentionArgs& args, const AttentionSequence& sequence,
                       const TaskRows& rows, int kv_head, const AngleView& angles) {
  AttentionTask task;
  task.q_stride = args.q.cols;
  task.out_stride = args.out.cols;
  task.rows = rows.rows;
  task.group = args.heads / args.kv_heads;
  task.head_dim = args.head_dim;
  task.first_position = rows.position;
  task.sliding_window = args.sliding_window;
  task.scale = args.scale;
  task.kv_head = kv_head;
  const size_t column = static_cast<size_t>(kv_head) * task.group * task.head_dim;
  const auto row_of = [&](const Activations& a) {
    return reinterpret_cast<float*>(a.data) + static_cast<size_t>(rows.first_row) * a.cols + column;
  };
  task.q = row_of(args.q);
  task.out = row_of(args.out);
  if (!sequence.k_ranges.empty()) task.k_range = sequence.k_ranges[kv_head];
  if (!sequence.v_ranges.empty()) task.v_range = sequence.v_ranges[kv_head];
  if (sequence.key_bias) {
    task.bias_q = row_of(args.bias_query);
    task.bias_q_stride = args.bias_query.cols;
    task.angles = angles;
  }
  return task;
}

// The pieces of which queries at positions [first, last] read something: those not wholly in the
// future and not wholly behind the sliding window. Pieces are in position order.
std::span<const TilePiece> Visible(std::span<const TilePiece> pieces, int first, int last,
                                   int sliding_window) {
  const auto future = [&](const TilePiece& piece) { return piece.position + piece.begin > last; };
  const auto gone = [&](const TilePiece& piece) {
    return sliding_window > 0 && piece.position + piece.end <= first - sliding_window + 1;
  };
  while (!pieces.empty() && gone(pieces.front())) pieces = pieces.subspan(1);
  while (!pieces.empty() && future(pieces.back())) pieces = pieces.first(pieces.size() - 1);
  return pieces;
}

void SetPieces(std::span<const TilePiece> pieces, PlannedTask& planned) {
  planned.task.pieces = pieces.data();
  planned.task.num_pieces = static_cast<int>(pieces.size());
  planned.cost = static_cast<int64_t>(pieces.size()) * kv::kBlockTokens * planned.task.rows;
}

}  // namespace

void AttentionPlan::Build(const AttentionArgs& args, int block_rows, const AngleView& angles) {
  angles_ = angles;
  pieces.clear();
  tasks.clear();
  decode_rows.clear();
  num_states = 0;
  for (const AttentionSequence& sequence : args.sequences) {
    for (const KvSpan& span : sequence.spans) AddPieces(span);
  }
  // Tasks point into `pieces`, which is complete now.
  const TilePiece* first = pieces.data();
  const TilePiece* const end = first + pieces.size();
  for (const AttentionSequence& sequence : args.sequences) {
    int tokens = 0;
    for (const KvSpan& span : sequence.spans) tokens += span.num_tokens;
    const TilePiece* last = first;
    for (; tokens > 0 && last < end; ++last) tokens -= last->end - last->begin;
    const std::span<const TilePiece> readable(first, last);
    first = last;
    if (sequence.num_rows == 0) continue;
    if (sequence.first_row < args.split.decode_rows) {
      KVP_CHECK(sequence.num_rows == 1);
      AddDecode(args, sequence, readable);
    } else {
      AddPrefill(args, sequence, readable, block_rows);
    }
  }
  order.resize(tasks.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [this](int a, int b) { return tasks[a].cost > tasks[b].cost; });
}

// Cuts a span at multiples of kBlockTokens slots of its tile; only sink extents are taller.
void AttentionPlan::AddPieces(const KvSpan& span) {
  const int tile_tokens = span.layout->tile_tokens;
  const int end_slot = span.first_slot + span.num_tokens;
  KVP_CHECK(end_slot <= tile_tokens && tile_tokens % 16 == 0) << end_slot << " " << tile_tokens;
  for (int slot = span.first_slot; slot < end_slot;) {
    TilePiece piece;
    piece.data = span.data;
    piece.layout = span.layout;
    piece.window = slot / kv::kBlockTokens * kv::kBlockTokens;
    piece.window_slots = std::min(kv::kBlockTokens, tile_tokens - piece.window);
    piece.begin = slot - piece.window;
    piece.end = std::min(kv::kBlockTokens, end_slot - piece.window);
    piece.position = span.first_position - span.first_slot + piece.window;
    pieces.push_back(piece);
    slot = piece.window + piece.end;
  }
}

// One task per KV head and split.
void AttentionPlan::AddDecode(const AttentionArgs& args, const AttentionSequence& sequence,
                              std::span<const TilePiece> readable) {
  const int row = sequence.first_row;
  const int position = sequence.first_position;
  readable = Visible(readable, position, position, args.sliding_window);
  const int group = args.heads / args.kv_heads;
  const bool many = position / (2 * kSplitTokens) * args.kv_heads >= kManySplits;
  const int split_tokens = many ? 2 * kSplitTokens : kSplitTokens;
  const auto split_of = [&](const TilePiece& piece) {
    return (piece.position + piece.begin) / split_tokens;
  };
  splits_.clear();
  do {
    size_t count = 0;
    while (count < readable.size() && split_of(readable[count]) == split_of(readable[0])) ++count;
    splits_.push_back(readable.first(count));
    readable = readable.subspan(count);
  } while (!readable.empty());
  for (int h = 0; h < args.kv_heads; ++h) {
    for (size_t s = 0; s < splits_.size(); ++s) {
      PlannedTask planned;
      planned.task = MakeTask(args, sequence, {row, 1, position}, h, angles_);
      planned.decode_row = static_cast<int>(decode_rows.size());
      planned.first_state = num_states + static_cast<int>(h * splits_.size() + s) * group;
      SetPieces(splits_[s], planned);
      tasks.push_back(planned);
    }
  }
  decode_rows.push_back(
      {.row = row, .splits = static_cast<int>(splits_.size()), .first_state = num_states});
  num_states += args.kv_heads * static_cast<int>(splits_.size()) * group;
}

// One task per KV head and block of query rows.
void AttentionPlan::AddPrefill(const AttentionArgs& args, const AttentionSequence& sequence,
                               std::span<const TilePiece> readable, int block_rows) {
  for (int row = 0; row < sequence.num_rows; row += block_rows) {
    const int rows = std::min(block_rows, sequence.num_rows - row);
    const int position = sequence.first_position + row;
    const std::span<const TilePiece> visible =
        Visible(readable, position, position + rows - 1, args.sliding_window);
    for (int h = 0; h < args.kv_heads; ++h) {
      PlannedTask planned;
      planned.task =
          MakeTask(args, sequence, {sequence.first_row + row, rows, position}, h, angles_);
      SetPieces(visible, planned);
      tasks.push_back(planned);
    }
  }
}

size_t AttentionPlan::bytes() const {
  return pieces.capacity() * sizeof(TilePiece) + tasks.capacity() * sizeof(PlannedTask) +
         order.capacity() * sizeof(int) + decode_rows.capacity() * sizeof(DecodeRow) +
         splits_.capacity() * sizeof(splits_[0]);
}

}  // namespace kvpareto::cpu
