// Memory that is read next, asked for while other work goes on. A core waits for a few lines at a
// time (16 of its L1 cache's, on Intel's), and a prefetch that finds no room holds up the loads
// behind it, so a tile is asked for a few lines at a time. Into the L2 cache: a core waits for more
// lines there, and a tile fits. Everything is in an anonymous namespace (see tile_decode_avx512.h).
//
// Lines are asked for one after the other, some cycles apart. In one go they come slower than
// without a prefetch: as if they reached the L2 cache in any order, and its own prefetcher, which
// runs ahead of what comes in order, found no stream (docs/decisions/0007).
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvpareto::cpu {
namespace {

// Asks for a line. The next one's address, which is returned, takes four cycles, and so keeps
// prefetches apart wherever they stand in a loop.
template <typename Byte>
[[gnu::always_inline]] inline const Byte* PrefetchLine(const Byte* line) {
  static_assert(sizeof(Byte) == 1);
  asm volatile("prefetcht1 (%0)\n\timul $1, %0, %0\n\tadd $64, %0" : "+r"(line));
  return line;
}

// Asks for kLines lines; returns what is behind them.
template <int kLines, typename Byte>
[[gnu::always_inline]] inline const Byte* PrefetchLines(const Byte* from) {
  for (int i = 0; i < kLines; ++i) from = PrefetchLine(from);
  return from;
}

// Asks for part `part` of kParts of kLines lines: for loops that keep the parts apart by work of
// their own.
template <int kLines, int kParts>
[[gnu::always_inline]] inline void PrefetchPart(const uint8_t* from, int part) {
  for (int i = part * kLines / kParts; i < (part + 1) * kLines / kParts; ++i) {
    asm volatile("prefetcht1 %0" : : "m"(from[64 * i]));
  }
}

struct PrefetchRun {
  const std::byte* next;  // of the lines up to `end`; nothing is left if not before it
  const std::byte* end;

  // The next `lines`, for a loop to ask for one by one; null if nothing is left. Some of the last
  // may lie behind the end: a prefetch does not fault.
  [[gnu::always_inline]] const std::byte* Take(int lines) {
    if (next >= end) return nullptr;
    const std::byte* const taken = next;
    next += 64 * static_cast<ptrdiff_t>(lines);
    return taken;
  }

  [[gnu::always_inline]] void Lines(int count) {
    const std::byte* taken = Take(count);
    if (taken == nullptr) return;
    for (int i = 0; i < count; ++i) taken = PrefetchLine(taken);
  }

  void Rest() {
    while (next < end) next = PrefetchLine(next);
  }
};

}  // namespace
}  // namespace kvpareto::cpu
