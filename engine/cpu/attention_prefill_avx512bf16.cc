// Prefill attention on vectors of bf16 pairs.
#include "engine/cpu/attention_prefill_bf16.h"
#include "engine/cpu/attention_vector.h"
#include "engine/cpu/products_avx512bf16.h"

namespace kvpareto::cpu {
namespace {

static_assert(kStepDepth == kTileDepth);

// 6 rows x 4 vectors of sums: 10 loads for 24 products.
struct VectorProducts {
  static constexpr int kRows = 6;
  static constexpr int kStrip = 24;  // scores and probabilities of a round fit L1
  // Whole strips for groups of 1, 2, 3, 4, 6 and 8 heads.
  static constexpr int kStackedRows = 264;
  static constexpr int kRoundPieces = 2;

  static void Score(const ScoreArgs& args) {
    for (int row = 0; row < kStrip; row += kRows) {
      if (args.tokens == kv::kBlockTokens) {
        ScoreRows<kTileVectors>(args, row);
      } else {
        ScoreRows<kTileVectors / 2>(args, row);
      }
    }
  }

  static void Weigh(const WeighStripArgs& args) {
    int channel = 0;
    for (; channel + 64 <= args.head_dim; channel += 64) WeighColumns<4>(args, channel);
    if (channel + 32 <= args.head_dim) {
      WeighColumns<2>(args, channel);
      channel += 32;
    }
    if (channel < args.head_dim) WeighColumns<1>(args, channel);
  }

 private:
  static constexpr int kBlock = kRows * kTileDepth;  // elements of A, contiguous

  template <int kVectors>
  static void PointAt(const std::byte* from, const std::byte* (&b)[kVectors]) {
    for (int j = 0; j < kVectors; ++j) b[j] = from + 64 * j;
  }

  // 16 * kVectors scores of kRows rows.
  template <int kVectors>
  static void ScoreRows(const ScoreArgs& args, int row) {
    Sums<kRows, kVectors> sums = {};
    const int steps = DepthSteps(args.head_dim);
    for (int i = 0; i < args.num_terms; ++i) {
      const ScoreArgs::Term& term = args.terms[i];
      const uint16_t* a = term.a + OperandIndex<kRows>(row, 0, steps);
      for (int s = 0; s < steps; ++s, a += kBlock) {
        const std::byte* b[kVectors];
        PointAt(term.b + DepthStart(s, args.head_dim) / 2 * term.b_row_bytes, b);
        MultiplyStep<kRows, kVectors>(a, b, term.b_row_bytes, sums);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      float* const to = args.scores + static_cast<size_t>(row + r) * args.stride;
      for (int j = 0; j < kVectors; ++j) _mm512_storeu_ps(to + 16 * j, sums[r][j]);
    }
  }

  template <int kVectors>
  static void WeighColumns(const WeighStripArgs& args, int channel) {
    for (int row = 0; row < kStrip; row += kRows) WeighRows<kVectors>(args, row, channel);
  }

  // 16 * kVectors channels of kRows rows of the output.
  template <int kVectors>
  static void WeighRows(const WeighStripArgs& args, int row, int channel) {
    constexpr int kPieceSteps = kv::kBlockTokens / kTileDepth;
    float* const o = args.o + static_cast<size_t>(row) * args.head_dim + channel;
    Sums<kRows, kVectors> sums;
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kVectors; ++j) {
        sums[r][j] = _mm512_loadu_ps(o + r * args.head_dim + 16 * j);
      }
    }
    const size_t row_bytes = PairBytes<16>(args.head_dim);
    const uint16_t* p = args.p + OperandIndex<kRows>(row, 0, args.p_steps);
    for (int s = 0; s < args.tokens / kTileDepth; ++s, p += kBlock) {
      const std::byte* b[kVectors];
      PointAt(args.values[s / kPieceSteps] + PairBytes<16>(channel) +
                  s % kPieceSteps * kTileDepth / 2 * row_bytes,
              b);
      MultiplyStep<kRows, kVectors>(p, b, row_bytes, sums);
    }
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kVectors; ++j) {
        _mm512_storeu_ps(o + r * args.head_dim + 16 * j, sums[r][j]);
      }
    }
  }
};

using Prefill = BlockPrefill<VectorProducts>;

}  // namespace

int PrefillRowsAvx512Bf16(int group, int /*head_dim*/) { return Prefill::QueryRows(group); }

size_t PrefillScratchBytesAvx512Bf16(int group, int head_dim, bool key_bias) {
  return Prefill::ScratchBytes(group, head_dim, key_bias);
}

void PrefillAttentionAvx512Bf16(const AttentionTask& task, std::byte* scratch) {
  Prefill::Run(task, scratch);
}

}  // namespace kvpareto::cpu
