#include "ops/rays.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

// A thread a ray; bound by the memory it fills.
template <class T>
__global__ void pixel_kernel(RaysParams<T> p, int64_t rays) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (r < rays) pixel_ray(p, r);
}

}  // namespace

template <class T>
void pixel_rays(Launch launch, const T* origin, const T* rotation, const T* fov, int64_t views, int resolution,
                T* origins, T* directions) {
  const RaysParams<T> p{origin, rotation, fov, views, resolution, origins, directions};
  const int64_t rays = views * resolution * resolution;
  if (rays == 0) return;
  const DeviceGuard guard(launch.device);
  pixel_kernel<<<blocks_for(rays, kBlock), kBlock, 0, stream_of(launch)>>>(p, rays);
  check(cudaGetLastError(), "pixel_rays");
}

template void pixel_rays(Launch, const float*, const float*, const float*, int64_t, int, float*, float*);
template void pixel_rays(Launch, const double*, const double*, const double*, int64_t, int, double*, double*);

}  // namespace dfast::cuda
