#include "engine/cpu/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <iterator>

namespace kvpareto::cpu {
namespace {

constexpr Isa kIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx};
constexpr std::string_view kNames[] = {"scalar", "avx2", "avx512", "avx512-bf16", "amx"};
static_assert(std::size(kIsas) == std::size(kNames));

struct CpuidResult {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidResult Cpuid(uint32_t leaf, uint32_t subleaf) {
  CpuidResult r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

constexpr bool HasBits(uint64_t value, uint64_t bits) { return (value & bits) == bits; }

// Register state that the OS saves and restores (XCR0).
uint64_t EnabledState() {
  constexpr uint32_t kOsxsave = 1u << 27;
  if (!HasBits(Cpuid(1, 0).ecx, kOsxsave)) return 0;
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

bool HasAvx2() {
  constexpr uint64_t kYmmState = 0x6;  // SSE, AVX
  constexpr uint32_t kFma = 1u << 12, kF16c = 1u << 29;
  constexpr uint32_t kAvx2 = 1u << 5, kBmi2 = 1u << 8;
  return HasBits(EnabledState(), kYmmState) && HasBits(Cpuid(1, 0).ecx, kFma | kF16c) &&
         HasBits(Cpuid(7, 0).ebx, kAvx2 | kBmi2);
}

bool HasAvx512() {
  constexpr uint64_t kZmmState = 0xe6;  // SSE, AVX, opmask, ZMM
  constexpr uint32_t kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  constexpr uint32_t kVbmi = 1u << 1, kVnni = 1u << 11;
  const CpuidResult leaf7 = Cpuid(7, 0);
  return HasAvx2() && HasBits(EnabledState(), kZmmState) &&
         HasBits(leaf7.ebx, kF | kDq | kBw | kVl) && HasBits(leaf7.ecx, kVbmi | kVnni);
}

bool HasAvx512Bf16() {
  constexpr uint32_t kBf16 = 1u << 5;
  return HasAvx512() && HasBits(Cpuid(7, 1).eax, kBf16);
}

bool HasAmx() {
  constexpr uint64_t kTileState = (1u << 17) | (1u << 18);
  constexpr uint32_t kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kAmxInt8 = 1u << 25;
  if (!HasAvx512Bf16() || !HasBits(EnabledState(), kTileState)) return false;
  if (!HasBits(Cpuid(7, 0).edx, kAmxBf16 | kAmxTile | kAmxInt8)) return false;
  constexpr int kArchReqXcompPerm = 0x1023;
  constexpr int kTileDataFeature = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileDataFeature) == 0;
}

// The vendor string of leaf 0 is "GenuineIntel" in ebx, edx, ecx.
bool IsIntel() {
  const CpuidResult leaf0 = Cpuid(0, 0);
  return leaf0.ebx == 0x756e6547 && leaf0.edx == 0x49656e69 && leaf0.ecx == 0x6c65746e;
}

}  // namespace

bool PrefetchStreams() {
  static const bool prefetch = IsIntel();
  return prefetch;
}

std::span<const Isa> AllIsas() { return kIsas; }

std::string_view IsaName(Isa isa) { return kNames[static_cast<int>(isa)]; }

std::optional<Isa> FindIsa(std::string_view name) {
  for (const Isa isa : kIsas) {
    if (IsaName(isa) == name) return isa;
  }
  return std::nullopt;
}

Isa DetectIsa() {
  static const Isa isa = !HasAvx2()         ? Isa::kScalar
                         : !HasAvx512()     ? Isa::kAvx2
                         : !HasAvx512Bf16() ? Isa::kAvx512
                         : !HasAmx()        ? Isa::kAvx512Bf16
                                            : Isa::kAmx;
  return isa;
}

}  // namespace kvpareto::cpu
