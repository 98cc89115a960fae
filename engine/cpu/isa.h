// Instruction sets of the CPU backend.
#pragma once

#include <cstdint>

namespace kvpareto::cpu {

// kScalar: plain C++, the definition. kAvx2: f32 arithmetic on AVX2 with FMA, F16C and BMI2
// (Haswell and later, Zen). kAvx512: on AVX-512 (F, BW, DQ, VL, VBMI, VNNI: Ice Lake and later).
// kAmx: as kAvx512 for decode rows; prefill rows and prefill attention multiply bf16 on AMX tiles.
// A machine that has one has all before it.
enum class Isa : uint8_t { kScalar, kAvx2, kAvx512, kAmx };

// The best this machine has. For AMX the OS permission is asked for (arch_prctl) on the first call.
Isa DetectIsa();

}  // namespace kvpareto::cpu
