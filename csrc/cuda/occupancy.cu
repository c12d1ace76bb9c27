// Points take a thread each. An update is two launches: a thread per run visits its cell, and each block adds up its
// runs; then every block adds up these parts again, which are few, and a thread packs a brick.
#include "ops/occupancy.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

template <class T>
__global__ void __launch_bounds__(kBlock) points_kernel(OccupancyPointsParams<T> p) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (r < p.at.runs) occupancy_point(p, r);
}

// Adds the sums of a block's threads by a fixed tree. All threads receive the result.
template <int kThreads>
__device__ __forceinline__ OccupancySums block_sum(OccupancySums own) {
  __shared__ OccupancySums sums[kThreads];
  sums[threadIdx.x] = own;
  __syncthreads();
#pragma unroll
  for (int step = kThreads / 2; step > 0; step /= 2) {
    if (threadIdx.x < step) {
      sums[threadIdx.x].density += sums[threadIdx.x + step].density;
      sums[threadIdx.x].visited += sums[threadIdx.x + step].visited;
    }
    __syncthreads();
  }
  return sums[0];
}

template <class T>
__global__ void __launch_bounds__(kOccupancyPart) visit_kernel(OccupancyUpdateParams<T> p) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kOccupancyPart + threadIdx.x;
  OccupancySums sums;
  if (r < p.at.runs) occupancy_visit(p, r, sums);
  sums = block_sum<kOccupancyPart>(sums);
  if (threadIdx.x == 0) p.parts[2 * blockIdx.x] = sums.density, p.parts[2 * blockIdx.x + 1] = sums.visited;
}

template <class T>
__global__ void __launch_bounds__(kBlock) pack_kernel(OccupancyUpdateParams<T> p, int parts, int64_t bricks) {
  OccupancySums sums;
  for (int i = threadIdx.x; i < parts; i += kBlock) sums.density += p.parts[2 * i], sums.visited += p.parts[2 * i + 1];
  const T limit = occupancy_limit(block_sum<kBlock>(sums), p.threshold);
  const int64_t b = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (b < bricks) p.bricks[b] = occupancy_brick(p.density, p.resolution, limit, b);
}

}  // namespace

template <class T>
void occupancy_points(Launch launch, const OccupancyPointsParams<T>& p) {
  const DeviceGuard guard(launch.device);
  points_kernel<<<blocks_for(p.at.runs, kBlock), kBlock, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "occupancy_points");
}

template <class T>
void occupancy_update(Launch launch, const OccupancyUpdateParams<T>& p) {
  const DeviceGuard guard(launch.device);
  const unsigned parts = blocks_for(p.at.runs, kOccupancyPart);
  visit_kernel<<<parts, kOccupancyPart, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "occupancy_update's visits");
  const int64_t side = p.resolution / 4, bricks = side * side * side;
  pack_kernel<<<blocks_for(bricks, kBlock), kBlock, 0, stream_of(launch)>>>(p, static_cast<int>(parts), bricks);
  check(cudaGetLastError(), "occupancy_update's bits");
}

DFAST_OCCUPANCY(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
