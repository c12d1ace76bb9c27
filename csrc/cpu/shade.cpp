#include "ops/shade.h"

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kSamples = 8192;  // a chunk

template <class T>
void shade(Launch launch, const T* gradient, const T* albedo, const T* position, const T* light_position,
           const T* ambient, const T* diffuse, const T* textureless, const int32_t* view, int64_t samples, T eps,
           T* rgb, T* normal) {
  const ShadeParams<T> p{gradient, albedo, position, light_position, ambient, diffuse, textureless, view,
                         samples,  eps,    rgb,      normal};
  parallel_chunks(launch.threads, samples, kSamples, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) shade_sample(p, i);
  });
}

template <class T>
void shade_backward(Launch launch, const T* gradient, const T* albedo, const T* position, const T* light_position,
                    const T* ambient, const T* diffuse, const T* textureless, const int32_t* view, const T* d_rgb,
                    const T* d_normal, int64_t samples, T eps, T* d_gradient, T* d_albedo) {
  const ShadeBackwardParams<T> p{gradient, albedo, position, light_position, ambient, diffuse,    textureless,
                                 view,     d_rgb,  d_normal, samples,        eps,     d_gradient, d_albedo};
  parallel_chunks(launch.threads, samples, kSamples, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) shade_sample_backward(p, i);
  });
}

#define INSTANTIATE(T)                                                                                              \
  template void shade(Launch, const T*, const T*, const T*, const T*, const T*, const T*, const T*, const int32_t*, \
                      int64_t, T, T*, T*);                                                                          \
  template void shade_backward(Launch, const T*, const T*, const T*, const T*, const T*, const T*, const T*,        \
                               const int32_t*, const T*, const T*, int64_t, T, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace dfast::cpu
