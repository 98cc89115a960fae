// Attention of one query row on f32 vectors.
#include "engine/cpu/attention_decode_avx512.h"

#include "engine/cpu/attention_vector.h"

namespace kvpareto::cpu {
namespace {

struct VectorProducts {
  template <int kBits>
  void Dot(const DotArgs& args, int heads) {
    DotHeads<kBits>(args, heads);
  }
  template <int kBits>
  void Weigh(const WeighArgs& args, int heads, int channels) {
    WeighChannels<kBits>(args, heads, channels);
  }
};

}  // namespace

size_t DecodeScratchBytesAvx512(int group, int head_dim) {
  return DecodeScratchBytes<VectorProducts>(group, head_dim);
}

void DecodeAttentionAvx512(const AttentionTask& task, std::byte* bytes) {
  DecodeAttention<VectorProducts>(task, bytes);
}

}  // namespace kvpareto::cpu
