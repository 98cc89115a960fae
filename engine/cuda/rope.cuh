#pragma once

namespace kvpareto::cuda {

// The pair (x, y) of a head, turned by the angle of a position.
__device__ __forceinline__ float2 Rotate(float2 pair, int position, float frequency) {
  float cosine, sine;
  sincosf(static_cast<float>(position) * frequency, &sine, &cosine);
  return make_float2(pair.x * cosine - pair.y * sine, pair.y * cosine + pair.x * sine);
}

}  // namespace kvpareto::cuda
