#pragma once

namespace kvpareto::cuda {

__device__ __forceinline__ float SiluMul(float gate, float up) {
  return gate / (1.0f + expf(-gate)) * up;
}

}  // namespace kvpareto::cuda
