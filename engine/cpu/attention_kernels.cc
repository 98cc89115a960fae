// What each instruction set offers for attention, in one place.
#include "engine/cpu/attention_vector.h"

namespace kvpareto::cpu {
namespace {

constexpr AttentionKernels kAvx2Attention = {PrefillRowsAvx2, PrefillAttentionAvx2,
                                             DecodeAttentionAvx2, AttentionScratchBytesAvx2};

constexpr size_t Larger(size_t a, size_t b) { return a > b ? a : b; }

size_t ScratchAvx512(int group, int head_dim, bool key_bias) {
  return Larger(PrefillScratchBytesAvx512(group, head_dim, key_bias),
                DecodeScratchBytesAvx512(group, head_dim));
}

constexpr AttentionKernels kAvx512Attention = {PrefillRowsAvx512, PrefillAttentionAvx512,
                                               DecodeAttentionAvx512, ScratchAvx512};

size_t ScratchAvx512Bf16(int group, int head_dim, bool key_bias) {
  return Larger(PrefillScratchBytesAvx512Bf16(group, head_dim, key_bias),
                DecodeScratchBytesAvx512(group, head_dim));
}

constexpr AttentionKernels kAvx512Bf16Attention = {
    PrefillRowsAvx512Bf16, PrefillAttentionAvx512Bf16, DecodeAttentionAvx512, ScratchAvx512Bf16};

size_t ScratchAmx(int group, int head_dim, bool key_bias) {
  return Larger(PrefillScratchBytesAmx(group, head_dim, key_bias),
                DecodeScratchBytesAmx(group, head_dim));
}

constexpr AttentionKernels kAmxAttention = {PrefillRowsAmx, PrefillAttentionAmx, DecodeAttentionAmx,
                                            ScratchAmx};

}  // namespace

const AttentionKernels& AttentionKernelsFor(Isa isa, int head_dim) {
  // Granules hold 16 channels (values); other head sizes take the definition.
  if (isa == Isa::kScalar || head_dim % 16 != 0) return kScalarAttention;
  if (isa == Isa::kAvx2) return kAvx2Attention;
  // bf16 products reduce over steps of 32.
  if (isa == Isa::kAvx512 || head_dim < 32) return kAvx512Attention;
  return isa == Isa::kAvx512Bf16 ? kAvx512Bf16Attention : kAmxAttention;
}

}  // namespace kvpareto::cpu
