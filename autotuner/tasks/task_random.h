// Random choices that are the same on every platform: of the standard library only the generator's
// numbers are specified, not its distributions and shuffles.
#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace kvpareto::tune {

class TaskRandom {
 public:
  // Streams of different seeds, buckets and items are independent.
  TaskRandom(uint64_t seed, int64_t bucket, int64_t item) {
    std::seed_seq sequence{seed, seed >> 32, static_cast<uint64_t>(bucket),
                           static_cast<uint64_t>(item)};
    generator_.seed(sequence);
  }

  // 0 ... bound - 1; bound is positive.
  uint64_t Below(uint64_t bound) { return generator_() % bound; }
  int64_t Between(int64_t low, int64_t high) {  // both included
    return low + static_cast<int64_t>(Below(static_cast<uint64_t>(high - low + 1)));
  }

  template <typename T>
  void Shuffle(std::vector<T>& values) {
    for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[Below(i)]);
  }

 private:
  std::mt19937_64 generator_;
};

}  // namespace kvpareto::tune
