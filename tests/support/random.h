// Random numbers that are the same on every machine (the distributions of <random> are not).
#pragma once

#include <cmath>
#include <cstdint>

namespace kvpareto::support {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Bits() {  // splitmix64
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  int Below(int bound) { return static_cast<int>(Bits() % static_cast<uint64_t>(bound)); }
  float Uniform() { return static_cast<float>(Bits() >> 40) * 0x1p-24f; }  // [0, 1)
  float Gauss() {                                                          // Box-Muller
    const float radius = std::sqrt(-2.0f * std::log(1.0f - Uniform()));
    return radius * std::cos(6.28318531f * Uniform());
  }

 private:
  uint64_t state_;
};

}  // namespace kvpareto::support
