#include "ops/composite.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kRays = 512;  // a chunk

// Zeroes what belongs to samples of no ray: those before offsets[0] and behind offsets[rays].
template <class T>
void zero_unowned(T* values /* [M, width] */, int64_t width, const int32_t* offsets, int64_t samples, int64_t rays) {
  std::fill(values, values + offsets[0] * width, T(0));
  std::fill(values + offsets[rays] * width, values + samples * width, T(0));
}

template <class T>
void composite(Launch launch, const T* tau, const T* dt, const T* rgb, const T* t, const int32_t* offsets,
               int64_t samples, int64_t rays, int channels, T early_stop, T* color, T* depth, T* opacity, T* weights) {
  const CompositeParams<T> p{tau,      dt,         rgb,   t,     offsets, samples, rays,
                             channels, early_stop, color, depth, opacity, weights};
  zero_unowned(weights, 1, offsets, samples, rays);
  parallel_chunks(launch.threads, rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) composite_ray(p, r);
  });
}

template <class T>
void composite_backward(Launch launch, const T* tau, const T* dt, const T* rgb, const T* t, const int32_t* offsets,
                        const T* d_color, const T* d_depth, const T* d_opacity, const T* d_weights, int64_t samples,
                        int64_t rays, int channels, T early_stop, T* d_tau, T* d_rgb) {
  const CompositeBackwardParams<T> p{tau,       dt,      rgb,  t,        offsets,    d_color, d_depth, d_opacity,
                                     d_weights, samples, rays, channels, early_stop, d_tau,   d_rgb};
  zero_unowned(d_tau, 1, offsets, samples, rays);
  zero_unowned(d_rgb, channels, offsets, samples, rays);
  parallel_chunks(launch.threads, rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) composite_ray_backward(p, r);
  });
}

#define INSTANTIATE(T)                                                                                                 \
  template void composite(Launch, const T*, const T*, const T*, const T*, const int32_t*, int64_t, int64_t, int, T,    \
                          T*, T*, T*, T*);                                                                             \
  template void composite_backward(Launch, const T*, const T*, const T*, const T*, const int32_t*, const T*, const T*, \
                                   const T*, const T*, int64_t, int64_t, int, T, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace dfast::cpu
