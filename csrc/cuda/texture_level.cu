#include "ops/texture_level.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

// One thread per pixel. Bound by the reads of corners.
template <class T>
__global__ void __launch_bounds__(kBlock) level_kernel(TextureLevelParams<T> p, int64_t pixels) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (i < pixels) level_of_pixel(p, PixelPlace::of(i, p.resolution));
}

}  // namespace

template <class T>
void texture_level(Launch launch, const TextureLevelParams<T>& p) {
  const int64_t pixels = p.views * p.resolution * p.resolution;
  if (pixels == 0) return;
  const DeviceGuard guard(launch.device);
  level_kernel<<<blocks_for(pixels, kBlock), kBlock, 0, stream_of(launch)>>>(p, pixels);
  check(cudaGetLastError(), "texture_level");
}

DFAST_TEXTURE_LEVEL(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
