#include "ops/rays.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

// One thread per ray. The kernel is bound by the memory it writes.
template <class T>
__global__ void pixel_kernel(RaysParams<T> p, int64_t rays) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (r < rays) pixel_ray(p, r);
}

}  // namespace

template <class T>
void pixel_rays(Launch launch, const RaysParams<T>& p) {
  const int64_t rays = p.views * p.resolution * p.resolution;
  if (rays == 0) return;
  const DeviceGuard guard(launch.device);
  pixel_kernel<<<blocks_for(rays, kBlock), kBlock, 0, stream_of(launch)>>>(p, rays);
  check(cudaGetLastError(), "pixel_rays");
}

DFAST_RAYS(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
