// Words that let one body compile for the host and for the device.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define DFAST_HD __host__ __device__ __forceinline__
#else
#define DFAST_HD inline __attribute__((always_inline))
#endif

// Declares launchers once for both back ends: cpu::f in csrc/cpu/<op>.cpp and cuda::f in csrc/cuda/<op>.cu.
#define DFAST_LAUNCHERS(...) \
  namespace cpu {            \
  __VA_ARGS__                \
  }                          \
  namespace cuda {           \
  __VA_ARGS__                \
  }

namespace dfast {

// Where a launcher runs. The caller keeps every tensor alive until the launcher returns; on CUDA the launcher only
// enqueues on `stream`, and torch's allocator keeps freed memory in stream order.
struct Launch {
  int device = -1;         // CUDA device index; unused on the CPU
  void* stream = nullptr;  // cudaStream_t; unused on the CPU
  int threads = 1;         // CPU threads that may be used; results never depend on it
};

}  // namespace dfast
