// What each instruction set offers for attention, in one place.
#include "engine/cpu/attention_vector.h"

namespace kvpareto::cpu {
namespace {

constexpr AttentionKernels kAvx2Attention = {PrefillRowsAvx2, PrefillAttentionAvx2,
                                             DecodeAttentionAvx2, AttentionScratchBytesAvx2};

size_t ScratchAvx512(int group, int head_dim, bool key_bias) {
  const size_t prefill = PrefillScratchBytesAvx512(group, head_dim, key_bias);
  const size_t decode = DecodeScratchBytesAvx512(group, head_dim);
  return prefill > decode ? prefill : decode;
}

constexpr AttentionKernels kAvx512Attention = {PrefillRowsAvx512, PrefillAttentionAvx512,
                                               DecodeAttentionAvx512, ScratchAvx512};

size_t ScratchAmx(int group, int head_dim, bool key_bias) {
  const size_t prefill = PrefillScratchBytesAmx(group, head_dim, key_bias);
  const size_t decode = DecodeScratchBytesAmx(group, head_dim);
  return prefill > decode ? prefill : decode;
}

constexpr AttentionKernels kAmxAttention = {PrefillRowsAmx, PrefillAttentionAmx, DecodeAttentionAmx,
                                            ScratchAmx};

}  // namespace

const AttentionKernels& AttentionKernelsFor(Isa isa, int head_dim) {
  // Granules hold 16 channels (values); other head sizes take the definition.
  if (isa == Isa::kScalar || head_dim % 16 != 0) return kScalarAttention;
  if (isa == Isa::kAvx2) return kAvx2Attention;
  return isa == Isa::kAmx && head_dim >= 32 ? kAmxAttention : kAvx512Attention;
}

}  // namespace kvpareto::cpu
