// Attention of one query row on vectors: codes in integers, bf16 and f32 in f32.
#include "engine/cpu/attention_decode_avx512.h"

#include "engine/cpu/attention_vector.h"
#include "engine/cpu/integer_rows_avx512.h"

namespace kvpareto::cpu {
namespace {

struct VectorProducts {
  static constexpr int kTilesAhead = 2;  // Zen 4: three are slower
  static constexpr bool kLowWindows = false;

  VectorRows integers;

  void Begin() { integers.x.Begin(); }
  void End() {}
  template <int kBits>
  void Dot(const DotArgs& args, int heads) {
    DotHeads<kBits>(args, heads);
  }
  template <int kBits>
  void Weigh(const WeighArgs& args, int heads, int channels) {
    WeighChannels<kBits>(args, heads, channels);
  }
  VectorRows& ForCodes(int /*heads*/) { return integers; }
};

}  // namespace

size_t DecodeScratchBytesAvx512(int group, int head_dim) {
  return DecodeScratchBytes<VectorProducts>(group, head_dim);
}

void DecodeAttentionAvx512(const AttentionTask& task, std::byte* bytes) {
  DecodeAttention<VectorProducts>(task, bytes);
}

}  // namespace kvpareto::cpu
