// Starting while earlier kernels still run (programmatic dependent launch, compute capability 9).
#pragma once

namespace kvpareto::cuda {

// The next kernel of the stream may start as soon as all blocks of this one have called this or
// ended: it waits itself for what it reads.
__device__ __forceinline__ void LetNextKernelStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Returns when all earlier kernels of the stream have finished. Until then only constant data
// (weights) may be read, and nothing be written.
__device__ __forceinline__ void WaitForEarlierKernels() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void BeginOverlapped() {
  WaitForEarlierKernels();
  LetNextKernelStart();
}

}  // namespace kvpareto::cuda
