#include "engine/cuda/attention.h"

#include "engine/base/check.h"

namespace kvpareto::cuda {

Attention::Attention(Device* device)
    : device_(*device), decode_(device), exact_(device, kv::CodecId::kF32) {}
Attention::~Attention() = default;

size_t Attention::scratch_bytes() const { return decode_.scratch_bytes() + exact_.scratch_bytes(); }

void Attention::Run(const AttentionArgs& args) {
  KVP_CHECK(args.heads % args.kv_heads == 0 && args.head_dim <= 256 && args.head_dim % 2 == 0);
  if (!device_.ok()) return;
  std::vector<const AttentionSequence*> decode, prefill;
  for (const AttentionSequence& sequence : args.sequences) {
    if (sequence.num_rows == 0) continue;
    (sequence.first_row < args.split.decode_rows ? decode : prefill).push_back(&sequence);
  }
  RunOpen(args, decode_.Run(args, decode));
  RunOpen(args, prefill);
}

void Attention::RunOpen(const AttentionArgs& args,
                        std::span<const AttentionSequence* const> sequences) {
  if (sequences.empty()) return;
  std::vector<OpenPiece> pieces;
  std::vector<OpenSequence> table;
  std::vector<int32_t> rows, row_sequence;
  exact_.Begin(args);
  for (const AttentionSequence* sequence : sequences) {
    for (int i = 0; i < sequence->num_rows; ++i) {
      rows.push_back(sequence->first_row + i);
      row_sequence.push_back(static_cast<int32_t>(table.size()));
    }
    const int first_piece = static_cast<int>(pieces.size());
    exact_.Add(*sequence, pieces);
    table.push_back({.first_row = sequence->first_row,
                     .first_position = sequence->first_position,
                     .first_piece = first_piece,
                     .num_pieces = static_cast<int>(pieces.size()) - first_piece,
                     .key_bias = sequence->key_bias});
  }
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
