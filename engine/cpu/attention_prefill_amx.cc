// Prefill attention on AMX tiles.
#include "engine/cpu/attention_prefill_bf16.h"
#include "engine/cpu/attention_tiles_amx.h"
#include "engine/cpu/attention_vector.h"

namespace kvpareto::cpu {
namespace {

struct TileProducts {
  static constexpr int kRows = kTileRows;
  static constexpr int kStrip = 2 * kTileRows;
  static constexpr int kStackedRows = 256;
  static constexpr int kRoundPieces = 4;

  static void Score(const ScoreArgs& args) {
    OrderMemory();
    for (int t = 0; t < args.tokens; t += 2 * kTileColumns) {
      ZeroSums();
      for (int i = 0; i < args.num_terms; ++i) {
        const ScoreArgs::Term& term = args.terms[i];
        MultiplySteps(term.a, term.b + PairBytes<16>(t), term.b_row_bytes, args.head_dim);
      }
      StoreSums<2>(args.scores + t, args.stride);
    }
  }

  static void Weigh(const WeighStripArgs& args) {
    OrderMemory();
    int channel = 0;
    for (; channel + 2 * kTileColumns <= args.head_dim; channel += 2 * kTileColumns) {
      WeighColumns<2>(args, channel);
    }
    if (channel < args.head_dim) WeighColumns<1>(args, channel);
  }

 private:
  // Sums += 32 rows of A times 32 columns of B, both `depth` deep.
  static void MultiplySteps(const uint16_t* a, const std::byte* b, size_t row_bytes, int depth) {
    const int steps = DepthSteps(depth);
    for (int s = 0; s < steps; ++s) {
      LoadA(a + s * kTileElements, a + (steps + s) * kTileElements);
      LoadB<2>(b + DepthStart(s, depth) / 2 * row_bytes, row_bytes);
      MultiplyAdd<2>();
    }
  }

  // 16 * kColumns channels of the output.
  template <int kColumns>
  static void WeighColumns(const WeighStripArgs& args, int channel) {
    constexpr int kPieceSteps = kv::kBlockTokens / kTileDepth;
    const size_t row_bytes = PairBytes<16>(args.head_dim);
    const int steps = args.tokens / kTileDepth;
    LoadSums<kColumns>(args.o + channel, args.head_dim);
    for (int s = 0; s < steps; ++s) {
      const uint16_t* const p = args.p + s * kTileElements;
      LoadA(p, p + args.p_steps * kTileElements);
      LoadB<kColumns>(args.values[s / kPieceSteps] + PairBytes<16>(channel) +
                          s % kPieceSteps * kTileDepth / 2 * row_bytes,
                      row_bytes);
      MultiplyAdd<kColumns>();
    }
    StoreSums<kColumns>(args.o + channel, args.head_dim);
  }
};

using Prefill = BlockPrefill<TileProducts>;

}  // namespace

int PrefillRowsAmx(int group, int /*head_dim*/) { return Prefill::QueryRows(group); }

size_t PrefillScratchBytesAmx(int group, int head_dim, bool key_bias) {
  return Prefill::ScratchBytes(group, head_dim, key_bias);
}

void PrefillAttentionAmx(const AttentionTask& task, std::byte* scratch) {
  const TileSession session;
  Prefill::Run(task, scratch);
}

}  // namespace kvpareto::cpu
