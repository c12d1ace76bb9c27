#include "ops/shade.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

// One thread per sample. The kernels are bound by memory traffic.
template <class T>
__global__ void forward_kernel(ShadeParams<T> p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < p.samples) shade_sample(p, i);
}

template <class T>
__global__ void backward_kernel(ShadeBackwardParams<T> p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < p.samples) shade_sample_backward(p, i);
}

}  // namespace

template <class T>
void shade(Launch launch, const ShadeParams<T>& p) {
  if (p.samples == 0) return;
  const DeviceGuard guard(launch.device);
  forward_kernel<<<blocks_for(p.samples, kBlock), kBlock, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "shade");
}

template <class T>
void shade_backward(Launch launch, const ShadeBackwardParams<T>& p) {
  if (p.samples == 0) return;
  const DeviceGuard guard(launch.device);
  backward_kernel<<<blocks_for(p.samples, kBlock), kBlock, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "shade_backward");
}

DFAST_SHADE(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
