#include "ops/shade.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

// One thread a sample; bound by memory traffic.
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
void shade(Launch launch, const T* gradient, const T* albedo, const T* position, const T* light_position,
           const T* ambient, const T* diffuse, const T* textureless, const int32_t* view, int64_t samples, T eps,
           T* rgb, T* normal) {
  const ShadeParams<T> p{gradient, albedo, position, light_position, ambient, diffuse, textureless, view,
                         samples,  eps,    rgb,      normal};
  if (samples == 0) return;
  const DeviceGuard guard(launch.device);
  forward_kernel<<<blocks_for(samples, kBlock), kBlock, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "shade");
}

template <class T>
void shade_backward(Launch launch, const T* gradient, const T* albedo, const T* position, const T* light_position,
                    const T* ambient, const T* diffuse, const T* textureless, const int32_t* view, const T* d_rgb,
                    const T* d_normal, int64_t samples, T eps, T* d_gradient, T* d_albedo) {
  const ShadeBackwardParams<T> p{gradient, albedo, position, light_position, ambient, diffuse,    textureless,
                                 view,     d_rgb,  d_normal, samples,        eps,     d_gradient, d_albedo};
  if (samples == 0) return;
  const DeviceGuard guard(launch.device);
  backward_kernel<<<blocks_for(samples, kBlock), kBlock, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "shade_backward");
}

#define INSTANTIATE(T)                                                                                              \
  template void shade(Launch, const T*, const T*, const T*, const T*, const T*, const T*, const T*, const int32_t*, \
                      int64_t, T, T*, T*);                                                                          \
  template void shade_backward(Launch, const T*, const T*, const T*, const T*, const T*, const T*, const T*,        \
                               const int32_t*, const T*, const T*, int64_t, T, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace dfast::cuda
