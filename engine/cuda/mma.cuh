// Tensor-core and bit primitives of device code.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace kvpareto::cuda {

// d = a b + c on a 16 x 8 tile with 16 terms per sum. Lane 4 g + q of the warp holds
//   a: rows g, g + 8, g, g + 8 with terms 2q, 2q+1 (a0, a1) and 2q+8, 2q+9 (a2, a3)
//   b: column g with terms 2q, 2q+1 (b0) and 2q+8, 2q+9 (b1)
//   c: row g, columns 2q, 2q+1 (c0, c1); row g + 8, the same (c2, c3)
__device__ __forceinline__ void MmaBf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                        uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void MmaF16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                       uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Transposes an 8 x 8 matrix of 16-bit elements; lane 4 g + q holds row g, columns 2q, 2q+1.
__device__ __forceinline__ uint32_t Transpose(uint32_t x) {
  uint32_t y;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

// 2^x, to 2 units in the last place; 0 for what would be subnormal.
__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The two int16 of `word` as floats: 2^23 + 2^15 + x is exact, and its low bytes are those of x but
// for the sign.
__device__ __forceinline__ float2 Int16ToFloat(uint32_t word) {
  const uint32_t shifted = word ^ 0x80008000u;
  constexpr float kOffset = 0x1p23f + 32768.0f;
  return make_float2(__uint_as_float(__byte_perm(shifted, 0x4b000000u, 0x7610)) - kOffset,
                     __uint_as_float(__byte_perm(shifted, 0x4b000000u, 0x7632)) - kOffset);
}

// Byte `byte` of a word, exactly.
__device__ __forceinline__ float ByteToFloat(uint32_t word, int byte) {
  return __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7650 | byte)) - 0x1p23f;
}

__device__ __forceinline__ uint32_t PackBf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ uint32_t PackF16(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ float2 UnpackF16(uint32_t pair) {
  return __half22float2(*reinterpret_cast<const __half2*>(&pair));
}
__device__ __forceinline__ uint32_t MultiplyF16(uint32_t a, uint32_t b) {
  const __half2 pair =
      __hmul2(*reinterpret_cast<const __half2*>(&a), *reinterpret_cast<const __half2*>(&b));
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ uint32_t AddF16(uint32_t a, uint32_t b) {
  const __half2 pair =
      __hadd2(*reinterpret_cast<const __half2*>(&a), *reinterpret_cast<const __half2*>(&b));
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ float2 UnpackBf16(uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}

// Copies to shared memory that go on while the thread does other things: kBytes is 4, 8 or 16. What
// a thread has committed in its last kPending groups may still be under way after the wait.
template <int kBytes>
__device__ __forceinline__ void CopyAsync(void* shared, const void* from) {
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(from), "n"(kBytes)
                 : "memory");
  }
}
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// (x & mask) | bits in one instruction, which two constants in the code would make two of.
__device__ __forceinline__ uint32_t MaskOr(uint32_t x, uint32_t mask, uint32_t bits) {
  uint32_t y;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(y) : "r"(x), "r"(mask), "r"(bits));
  return y;
}

// Brings a cache line to the L2 cache.
__device__ __forceinline__ void PrefetchL2(const void* from) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}

// A 16-byte load of data that is read once.
__device__ __forceinline__ uint4 LoadStream(const void* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

}  // namespace kvpareto::cuda
