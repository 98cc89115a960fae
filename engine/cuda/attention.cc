#include "engine/cuda/attention.h"

#include <algorithm>
#include <numeric>

#include "engine/base/check.h"
#include "engine/cuda/attention_wgmma.h"

namespace kvpareto::cuda {
namespace {

// Cuts a piece at multiples of kBlockTokens slots of its tile.
void AddWindows(const OpenPiece& piece, std::vector<PrefillWindow>& windows) {
  const int end_slot = piece.first_slot + piece.num_tokens;
  for (int slot = piece.first_slot / kv::kBlockTokens * kv::kBlockTokens; slot < end_slot;
       slot += kv::kBlockTokens) {
    windows.push_back({.k = piece.k,
                       .v = piece.v,
                       .k_stride = piece.k_stride,
                       .v_stride = piece.v_stride,
                       .tile_tokens = piece.tile_tokens,
                       .first_slot = slot,
                       .begin = std::max(0, piece.first_slot - slot),
                       .end = std::min(kv::kBlockTokens, end_slot - slot),
                       .position = piece.position - piece.first_slot + slot});
  }
}

PrefillRows RowsOf(const AttentionArgs& args, const AttentionSequence& sequence) {
  return {.first_row = sequence.first_row,
          .num_rows = sequence.num_rows,
          .first_position = sequence.first_position,
          .sliding_window = args.sliding_window,
          .q = reinterpret_cast<const float*>(args.q.data),
          .out = reinterpret_cast<float*>(args.out.data),
          .q_stride = args.q.cols,
          .out_stride = args.out.cols,
          .heads = args.heads,
          .kv_heads = args.kv_heads,
          .scale = args.scale};
}

}  // namespace

Attention::Attention(Device* device, bool wgmma)
    : device_(*device),
      wide_tiles_(device),
      bf16_tiles_(device),
      decode_(device, &bf16_tiles_),
      exact_(device, kv::CodecId::kF32, &wide_tiles_),
      rounded_(device, kv::CodecId::kBf16, &bf16_tiles_),
      dense_(device, &bf16_tiles_),
      wgmma_(wgmma && HasWgmmaPrefill()) {}
Attention::~Attention() = default;

bool Attention::ReserveScratch(const ScratchLimits& limits) {
  const bool odd_size = limits.head_dim != 64 && limits.head_dim != 128;
  return decode_.ReserveScratch(limits) &&
         (wgmma_ ? dense_.ReserveScratch(limits) : rounded_.ReserveScratch(limits)) &&
         (!(limits.key_bias || odd_size) || exact_.ReserveScratch(limits));
}

void Attention::Run(const AttentionArgs& args) {
  KVP_CHECK(args.heads % args.kv_heads == 0 && args.head_dim <= 256 && args.head_dim % 2 == 0);
  if (!device_.ok()) return;
  std::vector<const AttentionSequence*> decode, prefill;
  for (const AttentionSequence& sequence : args.sequences) {
    if (sequence.num_rows == 0) continue;
    (sequence.first_row < args.split.decode_rows ? decode : prefill).push_back(&sequence);
  }
  for (const AttentionSequence* other : decode_.Run(args, decode)) RunOpen(args, *other);
  for (const AttentionSequence* other : RunPrefill(args, prefill)) RunOpen(args, *other);
}

std::vector<const AttentionSequence*> Attention::RunPrefill(
    const AttentionArgs& args, std::span<const AttentionSequence* const> sequences) {
  std::vector<const AttentionSequence*> others;
  // One sequence after the other: they share the memory that tiles are unpacked to.
  for (const AttentionSequence* sequence : sequences) {
    if (sequence->key_bias || !HasPrefillKernel(args.head_dim)) {
      others.push_back(sequence);
      continue;
    }
    device_.BeginOperation();
    if (wgmma_ && DenseCache::Takes(*sequence)) {
      RunDense(args, *sequence);
    } else if (!RunWindows(args, *sequence)) {
      others.push_back(sequence);
    }
  }
  return others;
}

void Attention::RunDense(const AttentionArgs& args, const AttentionSequence& sequence) {
  const DenseView view = dense_.Make(args, sequence);
  if (view.k == nullptr) return;
  LaunchWgmmaPrefill(args.head_dim,
                     {.rows = RowsOf(args, sequence),
                      .k = view.k,
                      .v = view.v,
                      .head_stride = view.head_stride,
                      .dense_position = view.position,
                      .first_key = view.first_key},
                     device_.queue());
}

bool Attention::RunWindows(const AttentionArgs& args, const AttentionSequence& sequence) {
  std::vector<OpenPiece> pieces;
  rounded_.Begin(args);
  rounded_.Add(sequence, pieces);
  for (const OpenPiece& piece : pieces) {
    if (piece.wide_k || piece.wide_v) return false;
  }
  if (!rounded_.Run(pieces)) return true;
  std::vector<PrefillWindow> windows;
  for (const OpenPiece& piece : pieces) AddWindows(piece, windows);
  LaunchPrefillAttention(args.head_dim,
                         {.rows = RowsOf(args, sequence),
                          .windows = device_.Upload(std::span<const PrefillWindow>(windows)),
                          .num_windows = static_cast<int>(windows.size())},
                         device_.queue());
  return true;
}

void Attention::RunOpen(const AttentionArgs& args, const AttentionSequence& sequence) {
  device_.BeginOperation();
  std::vector<OpenPiece> pieces;
  std::vector<int32_t> rows(sequence.num_rows);
  std::iota(rows.begin(), rows.end(), sequence.first_row);
  const std::vector<int32_t> row_sequence(rows.size(), 0);
  exact_.Begin(args);
  exact_.Add(sequence, pieces);
  const OpenSequence table[] = {{.first_row = sequence.first_row,
                                 .first_position = sequence.first_position,
                                 .first_piece = 0,
                                 .num_pieces = static_cast<int>(pieces.size()),
                                 .key_bias = sequence.key_bias}};
  if (!exact_.Run(pieces)) return;
  LaunchOpenAttention({.q = reinterpret_cast<const float*>(args.q.data),
                       .bias_q = reinterpret_cast<const float*>(args.bias_query.data),
                       .out = reinterpret_cast<float*>(args.out.data),
                       .q_stride = args.q.cols,
                       .bias_stride = args.bias_query.cols,
                       .out_stride = args.out.cols,
                       .heads = args.heads,
                       .kv_heads = args.kv_heads,
                       .head_dim = args.head_dim,
                       .scale = args.scale,
                       .sliding_window = args.sliding_window,
                       .num_rows = static_cast<int>(rows.size()),
                       .rows = device_.Upload(std::span<const int32_t>(rows)),
                       .row_sequence = device_.Upload(std::span<const int32_t>(row_sequence)),
                       .sequences = device_.Upload(std::span<const OpenSequence>(table)),
                       .pieces = device_.Upload(std::span<const OpenPiece>(pieces)),
                       .frequency = device_.Upload(args.inverse_frequency)},
                      device_.queue());
}

}  // namespace kvpareto::cuda
