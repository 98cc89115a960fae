// Instruction sets of the CPU backend.
#pragma once

#include <cstdint>

namespace kvpareto::cpu {

// kScalar: plain C++, the definition. kAvx512: f32 arithmetic on AVX-512 (F, BW, DQ, VL, VBMI,
// VNNI: Ice Lake and later). kAmx: as kAvx512 for decode rows; prefill rows and prefill attention
// multiply bf16 on AMX tiles.
enum class Isa : uint8_t { kScalar, kAvx512, kAmx };

// The best this machine has. For AMX the OS permission is asked for (arch_prctl) on the first call.
Isa DetectIsa();

}  // namespace kvpareto::cpu
