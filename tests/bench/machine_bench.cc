// What this machine can do, to hold kernels against (docs/performance.md): reading memory, and
// multiply-adds of each kind that a kernel uses, from registers.
//
// usage: machine_bench [THREADS...]      default: 1 and all
#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/cpu/isa.h"
#include "engine/cpu/tile_session_amx.h"

namespace {

using kvpareto::cpu::Isa;
using Clock = std::chrono::steady_clock;

// Seconds of fn(thread) on all threads at once, the best of `repeats`.
double BestSeconds(int threads, int repeats, const std::function<void(int)>& fn) {
  double best = 1e9;
  for (int i = 0; i < repeats; ++i) {
    const auto start = Clock::now();
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(fn, t);
    fn(0);
    for (std::thread& other : others) other.join();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

// --- Memory ---

struct FreeBytes {
  void operator()(std::byte* data) const { std::free(data); }
};

// In huge pages, written once.
std::unique_ptr<std::byte, FreeBytes> Allocate(size_t bytes) {
  constexpr size_t kHugePageBytes = size_t{2} << 20;
  std::unique_ptr<std::byte, FreeBytes> memory(static_cast<std::byte*>(
      std::aligned_alloc(kHugePageBytes, (bytes + kHugePageBytes - 1) & ~(kHugePageBytes - 1))));
  ::madvise(memory.get(), bytes, MADV_HUGEPAGE);
  std::memset(memory.get(), 1, bytes);
  return memory;
}

__attribute__((target("avx2"))) void Read(const std::byte* from, size_t bytes) {
  __m256i sums[4] = {};
  for (size_t i = 0; i < bytes; i += 128) {
    for (int j = 0; j < 4; ++j) {
      const auto* at = reinterpret_cast<const __m256i*>(from + i + 32 * j);
      sums[j] = _mm256_xor_si256(sums[j], _mm256_load_si256(at));
    }
  }
  const __m256i sum =
      _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]), _mm256_xor_si256(sums[2], sums[3]));
  asm volatile("" ::"x"(sum));
}

void MeasureReads(int threads) {
  for (const size_t megabytes : {1, 16, 100, 1000}) {
    const size_t share = (megabytes << 20) / threads / 128 * 128;
    const auto memory = Allocate(share * threads);
    // Small sets are read often enough to outlast the start of a thread.
    const int passes = static_cast<int>(std::max<size_t>(1, 2000 / megabytes));
    const double seconds = BestSeconds(threads, 5, [&](int thread) {
      for (int i = 0; i < passes; ++i) Read(memory.get() + thread * share, share);
    });
    std::printf("%d threads: read %4zu MB %22.1f GB/s\n", threads, megabytes,
                static_cast<double>(share) * threads * passes / seconds * 1e-9);
  }
}

// --- Arithmetic ---

constexpr int kIterations = 1 << 22;
constexpr int kSums = 16;  // independent ones, to hide the latency

#define KVPARETO_RATE_LOOP(name, instruction, type, isa)                           \
  __attribute__((target(isa))) void name() {                                       \
    type sums[kSums] = {};                                                         \
    type x = {};                                                                   \
    for (int i = 0; i < kIterations; ++i) {                                        \
      for (type & sum : sums) asm(instruction " %1, %1, %0" : "+v"(sum) : "v"(x)); \
    }                                                                              \
    for (type & sum : sums) asm volatile("" ::"v"(sum));                           \
  }

KVPARETO_RATE_LOOP(FmaAvx2, "vfmadd231ps", __m256, "avx2,fma")
KVPARETO_RATE_LOOP(FmaAvx512, "vfmadd231ps", __m512, "avx512f")
KVPARETO_RATE_LOOP(PairsAvx512, "vpdpwssd", __m512i, "avx512f,avx512vnni")
KVPARETO_RATE_LOOP(Bf16Avx512, "vdpbf16ps", __m512, "avx512f,avx512bf16")

#undef KVPARETO_RATE_LOOP

// Four sums of 16 x 16, operands of 16 x 64 bytes.
__attribute__((target("amx-tile,amx-bf16"))) void Bf16Amx() {
  const kvpareto::cpu::TileSession session;
  for (int i = 0; i < kIterations / 4; ++i) {
    asm volatile(
        "tdpbf16ps %%tmm5, %%tmm4, %%tmm0\n\ttdpbf16ps %%tmm5, %%tmm4, %%tmm1\n\t"
        "tdpbf16ps %%tmm5, %%tmm4, %%tmm2\n\ttdpbf16ps %%tmm5, %%tmm4, %%tmm3" ::);
  }
}

struct Rate {
  const char* name;
  Isa isa;  // that has it
  void (*run)();
  double multiply_adds;  // of one run
};

constexpr double kLoop = static_cast<double>(kIterations) * kSums;
constexpr Rate kRates[] = {
    {"f32, AVX2", Isa::kAvx2, FmaAvx2, kLoop * 8},
    {"f32, AVX-512", Isa::kAvx512, FmaAvx512, kLoop * 16},
    {"16-bit integers, AVX-512", Isa::kAvx512, PairsAvx512, kLoop * 32},
    {"bf16, AVX-512", Isa::kAvx512Bf16, Bf16Avx512, kLoop * 32},
    {"bf16, AMX", Isa::kAmx, Bf16Amx, static_cast<double>(kIterations) * 16 * 16 * 32},
};

void MeasureRates(int threads) {
  for (const Rate& rate : kRates) {
    if (kvpareto::cpu::DetectIsa() < rate.isa) continue;
    const double seconds = BestSeconds(threads, 5, [&](int) { rate.run(); });
    std::printf("%d threads: %-24s %8.0f GFLOP/s\n", threads, rate.name,
                2.0 * rate.multiply_adds * threads / seconds * 1e-9);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (kvpareto::cpu::DetectIsa() < Isa::kAvx2) {
    std::fprintf(stderr, "machine_bench: needs AVX2\n");
    return 1;
  }
  std::vector<int> threads;
  for (int i = 1; i < argc; ++i) threads.push_back(std::max(1, std::atoi(argv[i])));
  if (threads.empty()) threads = {1, static_cast<int>(std::thread::hardware_concurrency())};
  for (const int count : threads) {
    MeasureReads(count);
    MeasureRates(count);
  }
  return 0;
}
