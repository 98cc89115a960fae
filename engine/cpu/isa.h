// Instruction sets of the CPU backend.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace kvpareto::cpu {

// kScalar: plain C++, the definition. kAvx2: f32 arithmetic on AVX2 with FMA, F16C and BMI2
// (Haswell and later, Zen). kAvx512: on AVX-512 (F, BW, DQ, VL, VBMI, VNNI: Ice Lake and later).
// The others are as kAvx512 for decode rows; prefill rows and prefill attention multiply bf16:
// kAvx512Bf16 on vectors (AVX512-BF16: Cooper Lake, Zen 4), kAmx on AMX tiles (Sapphire Rapids).
// A machine that has one has all before it.
enum class Isa : uint8_t { kScalar, kAvx2, kAvx512, kAvx512Bf16, kAmx };

// All of them, in order.
std::span<const Isa> AllIsas();

// "scalar", "avx2", "avx512", "avx512-bf16", "amx".
std::string_view IsaName(Isa isa);
std::optional<Isa> FindIsa(std::string_view name);

// The best this machine has. For AMX the OS permission is asked for (arch_prctl) on the first call.
Isa DetectIsa();

// Whether a stream of weights from memory should be prefetched by hand. Intel's cores then read it
// up to twice as fast (Emerald Rapids, 2 threads: 15 -> 27 GB/s); AMD's prefetchers keep up with
// memory alone, and lose by it (Zen 4: 41 -> 37 GB/s).
bool PrefetchStreams();

// Whether prefill multiplies values rounded to bf16.
constexpr bool PrefillsInBf16(Isa isa) { return isa >= Isa::kAvx512Bf16; }

}  // namespace kvpareto::cpu
