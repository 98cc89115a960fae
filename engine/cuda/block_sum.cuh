#pragma once

namespace kvpareto::cuda {

// The sum over the block, in a fixed order; all threads get it.
__device__ __forceinline__ float BlockSum(float value) {
  __shared__ float sums[32];
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  const int warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0) sums[warp] = value;
  __syncthreads();
  float total = 0.0f;
  for (int w = 0; w < blockDim.x / 32; ++w) total += sums[w];
  __syncthreads();
  return total;
}

}  // namespace kvpareto::cuda
