// Sums over a warp. All 32 lanes call them together; the additions form a fixed tree, the same in every run.
#pragma once

namespace dfast::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

}  // namespace dfast::cuda
