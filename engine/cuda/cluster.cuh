// Blocks of a cluster, which read each other's shared memory: compute capability 9. Code for others
// compiles, and must not be reached there but for ClusterRank.
#pragma once

#include <cstdint>
#include <type_traits>

namespace kvpareto::cuda {

// The block's number in its cluster.
__device__ __forceinline__ uint32_t ClusterRank() {
  uint32_t rank = 0;
#if __CUDA_ARCH__ >= 900
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
  return rank;
}

// Barrier in two halves: what a block wrote to shared memory before it arrived, others see after
// they have waited.
__device__ __forceinline__ void ClusterArrive() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void ClusterWait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// What block `rank` has where `own` stands in this block's shared memory.
template <typename T>
__device__ __forceinline__ T LoadFromPeer(const T* own, uint32_t rank) {
#if __CUDA_ARCH__ >= 900
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  T value;
  uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(own));
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(address), "r"(rank));
  if constexpr (std::is_same_v<T, float>) {
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
  } else if constexpr (sizeof(T) == 4) {
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
  } else {
    asm volatile("ld.shared::cluster.u64 %0, [%1];" : "=l"(value) : "r"(address) : "memory");
  }
  return value;
#else
  return *own;
#endif
}

}  // namespace kvpareto::cuda
