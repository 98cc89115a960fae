// exp of four floats at a time: distributions over large vocabularies are compared at thousands of
// positions, and a call of the library for every entry would take longer than the model.
#pragma once

#include <cstdint>
#include <cstring>

namespace kvpareto::tune {

// Arithmetic and comparisons work on all lanes.
using Floats = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
inline constexpr int kLanes = 4;

inline Floats Broadcast(float x) { return Floats{x, x, x, x}; }

inline Floats LoadFloats(const float* from) {
  Floats x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

// exp(x) within 2 units in the last place for x in [-87, 88]; exp(-87), about 1.6e-38, below.
// After Cephes expf: x = n ln 2 + r with |r| <= ln 2 / 2, exp(r) by a polynomial.
inline Floats Exp(Floats x) {
  constexpr float kLowest = -87.0f, kHighest = 88.0f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < kLowest ? Broadcast(kLowest) : x;
  x = x > kHighest ? Broadcast(kHighest) : x;
  const Floats shifted = x * 1.44269504088896341f + kRound;
  const Floats n = shifted - kRound;
  const Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  Ints exponent, bits;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  std::memcpy(&bits, &p, sizeof bits);
  bits += exponent << 23;  // the integer stands in the low bits of `shifted`
  std::memcpy(&p, &bits, sizeof p);
  return p;
}

}  // namespace kvpareto::tune
