// Macros that let one body compile for the host and for the device.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define DFAST_HD __host__ __device__ __forceinline__
#else
#define DFAST_HD inline __attribute__((always_inline))
#endif
