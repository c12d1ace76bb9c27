#include "ops/composite.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

// One thread a ray: samples of a ray are neighbours in memory, so reads are strided across a warp but each line is used
// by the following iterations out of L1. Sums are sequential, hence deterministic.
template <class T>
__global__ void forward_kernel(CompositeParams<T> p) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r < p.rays) composite_ray(p, r);
}

template <class T>
__global__ void backward_kernel(CompositeBackwardParams<T> p) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r < p.rays) composite_ray_backward(p, r);
}

}  // namespace

template <class T>
void composite(Launch launch, const T* tau, const T* dt, const T* rgb, const T* t, const int32_t* offsets, int64_t rays,
               int channels, T early_stop, T* color, T* depth, T* opacity, T* weights) {
  const CompositeParams<T> p{tau, dt, rgb, t, offsets, rays, channels, early_stop, color, depth, opacity, weights};
  if (rays == 0) return;
  const DeviceGuard guard(launch.device);
  forward_kernel<<<blocks_for(rays, kBlock), kBlock, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "composite");
}

template <class T>
void composite_backward(Launch launch, const T* tau, const T* dt, const T* rgb, const T* t, const int32_t* offsets,
                        const T* weights, const T* d_color, const T* d_depth, const T* d_opacity, const T* d_weights,
                        int64_t rays, int channels, T early_stop, T* d_tau, T* d_rgb) {
  const CompositeBackwardParams<T> p{tau,       dt,        rgb,  t,        offsets,    weights, d_color, d_depth,
                                     d_opacity, d_weights, rays, channels, early_stop, d_tau,   d_rgb};
  if (rays == 0) return;
  const DeviceGuard guard(launch.device);
  backward_kernel<<<blocks_for(rays, kBlock), kBlock, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "composite_backward");
}

#define INSTANTIATE(T)                                                                                                 \
  template void composite(Launch, const T*, const T*, const T*, const T*, const int32_t*, int64_t, int, T, T*, T*, T*, \
                          T*);                                                                                         \
  template void composite_backward(Launch, const T*, const T*, const T*, const T*, const int32_t*, const T*, const T*, \
                                   const T*, const T*, const T*, int64_t, int, T, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace dfast::cuda
