// The vector kernels of attention, by instruction set; attention_kernels.cc puts them together.
// head_dim is a multiple of 16 up to kMaxHeadDim. Contracts: AttentionKernels (attention_task.h).
#pragma once

#include "engine/cpu/attention_task.h"

namespace kvpareto::cpu {

// Isa::kAvx2, in f32.
void DecodeAttentionAvx2(const AttentionTask& task, std::byte* scratch);
void PrefillAttentionAvx2(const AttentionTask& task, std::byte* scratch);
int PrefillRowsAvx2(int group, int head_dim);
size_t AttentionScratchBytesAvx2(int group, int head_dim, bool key_bias);

// Isa::kAvx512 and better: codes in integers, all else in f32.
void DecodeAttentionAvx512(const AttentionTask& task, std::byte* scratch);
size_t DecodeScratchBytesAvx512(int group, int head_dim);

// Isa::kAmx: codes of a few heads as on kAvx512, all else to the accuracy of f32. head_dim >= 32.
void DecodeAttentionAmx(const AttentionTask& task, std::byte* scratch);
size_t DecodeScratchBytesAmx(int group, int head_dim);

// Isa::kAvx512, in f32.
void PrefillAttentionAvx512(const AttentionTask& task, std::byte* scratch);
int PrefillRowsAvx512(int group, int head_dim);
size_t PrefillScratchBytesAvx512(int group, int head_dim, bool key_bias);

// Isa::kAvx512Bf16 and Isa::kAmx: bf16 operands, f32 sums; the key bias term to 2^-17 of its
// factors. head_dim >= 32.
void PrefillAttentionAvx512Bf16(const AttentionTask& task, std::byte* scratch);
int PrefillRowsAvx512Bf16(int group, int head_dim);
size_t PrefillScratchBytesAvx512Bf16(int group, int head_dim, bool key_bias);
void PrefillAttentionAmx(const AttentionTask& task, std::byte* scratch);
int PrefillRowsAmx(int group, int head_dim);
size_t PrefillScratchBytesAmx(int group, int head_dim, bool key_bias);

}  // namespace kvpareto::cpu
