// Tensor-core building blocks (sm_80 and later): one warp multiplies 16-row tiles in half precision with float sums.
//
// Fragment layout of m16n8k16, with q = lane / 4 and p = lane % 4:
//   A [16, 16]: a0 (row q, columns 2p 2p+1), a1 (row q + 8), a2 (row q, columns + 8), a3 (row q + 8, columns + 8)
//   B [16, 8]:  b0 (rows 2p 2p+1, column q), b1 (rows + 8)
//   C [16, 8]:  c0 c1 (row q, columns 2p 2p+1), c2 c3 (row q + 8)
// so two neighbouring C tiles, rounded to half, are the A tile of the next layer: activations never leave registers.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

// Kernels that use these building blocks are empty on older GPUs, where dfast.ops.field refuses to run.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define DFAST_TENSOR_CORES 1
#else
#define DFAST_TENSOR_CORES 0
#endif

namespace dfast::cuda {

__device__ __forceinline__ std::uint32_t pack_half(float low, float high) {
  const __half2 value = __floats2half2_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&value);
}

__device__ __forceinline__ float2 unpack_half(std::uint32_t bits) {
  return __half22float2(*reinterpret_cast<const __half2*>(&bits));
}

__device__ __forceinline__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

#if DFAST_TENSOR_CORES

// Loads four (two) 8x8 matrices of halves; lane i passes the address of row i % 8 of matrix i / 8. Each lane receives
// two neighbours of row q or, with kTrans, of column q.
template <bool kTrans>
__device__ __forceinline__ void load_matrices(std::uint32_t (&r)[4], const __half* row) {
  if constexpr (kTrans) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  }
}

template <bool kTrans>
__device__ __forceinline__ void load_matrices(std::uint32_t (&r)[2], const __half* row) {
  if constexpr (kTrans) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
  }
}

// Transposes an 8x8 matrix held across the warp, row q and columns 2p 2p+1 in each lane.
__device__ __forceinline__ std::uint32_t transpose_matrix(std::uint32_t r) {
  std::uint32_t t;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(t) : "r"(r));
  return t;
}

// c += a b, k = 16.
__device__ __forceinline__ void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                             std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// c += a b, k = 8.
__device__ __forceinline__ void multiply_add(float (&c)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t b0) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(b0));
}

#endif

}  // namespace dfast::cuda
