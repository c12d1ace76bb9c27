// Sums into the rows of triangles' corners. The pixels of a warp often see one triangle: its lanes then add their
// values first, and one lane adds the sum to memory. The order of the additions varies from run to run; where it must
// not, kernels write the terms to memory instead, and the caller adds them in a fixed order.
#pragma once

#include "cuda/warp_ray.h"

namespace dfast::cuda {

// All lanes of a warp call it together. Returns whether they see one triangle of one view (or none at all).
__device__ __forceinline__ bool one_triangle(int64_t view, int32_t face) {
  int alike = 0;
  const unsigned long long key = static_cast<unsigned long long>(view) << 32 | static_cast<uint32_t>(face);
  __match_all_sync(kAllLanes, key, &alike);
  return alike != 0;
}

// Adds a value to an element of the sums; a lane with row -1 has none. All lanes of a warp call it together, with one
// row if `alike` is set.
template <class T>
__device__ __forceinline__ void add_to_row(T* sums, int64_t row, int columns, int column, T value, bool alike) {
  if (alike) {
    value = warp_sum(value);
    if (threadIdx.x % 32 != 0) return;
  }
  if (row >= 0 && value != T(0)) atomicAdd(sums + row * columns + column, value);
}

}  // namespace dfast::cuda
