// A block takes a row of an image and adds its costs in a fixed order. The loads of a pixel's neighbours hit in L1.
#include "ops/normal_variation.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 64;

template <class T>
__global__ void __launch_bounds__(kBlock) row_kernel(NormalVariationParams<T> p) {
  __shared__ T costs[kBlock];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * p.width;
  T cost = 0;
  for (int64_t i = threadIdx.x; i < p.width; i += kBlock) cost += variation_at(p, first + i);
  costs[threadIdx.x] = cost;
  for (int step = kBlock / 2; step > 0; step /= 2) {
    __syncthreads();
    if (threadIdx.x < step) costs[threadIdx.x] += costs[threadIdx.x + step];
  }
  if (threadIdx.x == 0) p.cost[blockIdx.x] = costs[0];
}

}  // namespace

template <class T>
void normal_variation(Launch launch, const NormalVariationParams<T>& p) {
  const int64_t rows = p.views * p.height;
  if (rows == 0) return;
  const DeviceGuard guard(launch.device);
  row_kernel<<<static_cast<unsigned>(rows), kBlock, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "normal_variation");
}

DFAST_NORMAL_VARIATION(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
