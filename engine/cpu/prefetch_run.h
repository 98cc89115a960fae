// Memory that is read next, asked for while other work goes on. A core waits for a few lines at a
// time (16 of its L1 cache's, on Intel's), and a prefetch that finds no room holds up the loads
// behind it, so a tile is asked for a few lines at a time. Into the L2 cache: a core waits for more
// lines there, and a tile fits. Everything is in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include <cstddef>

namespace kvpareto::cpu {
namespace {

// Asks for kLines lines; returns what is behind them.
template <int kLines>
[[gnu::always_inline]] inline const std::byte* PrefetchLines(const std::byte* from) {
  for (int i = 0; i < kLines; ++i) __builtin_prefetch(from + 64 * i, 0, 2);
  return from + 64 * kLines;
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
    const std::byte* const taken = Take(count);
    if (taken == nullptr) return;
    for (int i = 0; i < count; ++i) __builtin_prefetch(taken + 64 * i, 0, 2);
  }

  void Rest() {
    for (; next < end; next += 64) __builtin_prefetch(next, 0, 2);
  }
};

}  // namespace
}  // namespace kvpareto::cpu
