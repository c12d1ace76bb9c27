#include "ops/shade_composite.h"

#include "cpu/parallel.h"

namespace dfast::cpu {

namespace {

constexpr int64_t kRays = 256;  // a chunk

template <class T>
Shaded<T> shade_at(const ShadeCompositeInput<T>& p, const ShadeCompositeRay<T>& ray, int64_t i) {
  return shade_point(ray.lighting, p.gradient ? p.gradient + 3 * i : nullptr, p.albedo + 3 * i, p.x + 3 * i, p.eps);
}

template <class T>
void forward(const ShadeCompositeInput<T>& p, const ShadeCompositeOutput<T>& out, int64_t r) {
  const ShadeCompositeRay<T> ray(p, r);
  ShadeCompositeSums<T> sums;
  T transmittance = T(1);
  const int64_t end = p.offsets[r + 1];
  for (int64_t i = p.offsets[r]; i < end && transmittance >= p.early_stop; ++i) {
    const T w = absorb(&transmittance, p.tau[i], p.dt[i]);
    sums.add(ray, shade_at(p, ray, i), w, p.t[i]);
  }
  sums.write(out, ray.background, r);
}

// One pass down the ray rebuilds T_{i+1} (kept in d_tau meanwhile), one pass back up sees what is behind.
template <class T>
void backward(const ShadeCompositeInput<T>& p, const ShadeCompositeGradients<T>& d, int64_t r) {
  const int64_t begin = p.offsets[r], end = p.offsets[r + 1];
  T transmittance = T(1);
  int64_t stop = begin;
  for (; stop < end && transmittance >= p.early_stop; ++stop) {
    absorb(&transmittance, p.tau[stop], p.dt[stop]);
    d.d_tau[stop] = transmittance;
  }
  for (int64_t i = stop; i < end; ++i) {
    d.d_tau[i] = T(0);
    for (int c = 0; c < 3; ++c) d.d_albedo[3 * i + c] = T(0);
    for (int c = 0; d.d_gradient && c < 3; ++c) d.d_gradient[3 * i + c] = T(0);
  }
  if (begin == stop) return;
  const ShadeCompositeRay<T> ray(p, r);
  const ShadeCompositeAdjoint<T> adjoint(d, ray.background, r);
  T behind = T(0);
  for (int64_t i = stop - 1; i >= begin; --i) {
    const Shaded<T> s = shade_at(p, ray, i);
    const T alpha = alpha_of(p.tau[i], p.dt[i]);
    const T w = (i > begin ? d.d_tau[i - 1] : T(1)) * alpha;
    const T g = adjoint.weight(s, p.t[i]);
    adjoint.sample(ray, s, w, d.d_albedo + 3 * i, d.d_gradient ? d.d_gradient + 3 * i : nullptr);
    d.d_tau[i] = absorb_vjp(g, behind, d.d_tau[i], p.dt[i]);
    behind += alpha * (g - behind);
  }
}

}  // namespace

template <class T>
void shade_composite(Launch launch, const T* tau, const T* albedo, const T* gradient, const T* x, const T* t,
                     const T* dt, const int32_t* offsets, const T* directions, const int32_t* view,
                     const T* light_position, const T* ambient, const T* diffuse, const T* textureless,
                     const T* background, int64_t rays, int64_t views, T early_stop, T eps, T* color, T* opacity,
                     T* depth, T* normal, T* orientation) {
  const ShadeCompositeInput<T> p{tau,        albedo, gradient,       x,       t,       dt,          offsets,
                                 directions, view,   light_position, ambient, diffuse, textureless, background,
                                 rays,       views,  early_stop,     eps};
  const ShadeCompositeOutput<T> out{color, opacity, depth, normal, orientation};
  parallel_chunks(launch.threads, rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) forward(p, out, r);
  });
}

template <class T>
void shade_composite_backward(Launch launch, const T* tau, const T* albedo, const T* gradient, const T* x, const T* t,
                              const T* dt, const int32_t* offsets, const T* directions, const int32_t* view,
                              const T* light_position, const T* ambient, const T* diffuse, const T* textureless,
                              const T* background, int64_t rays, int64_t views, T early_stop, T eps, const T* d_color,
                              const T* d_opacity, const T* d_depth, const T* d_normal, const T* d_orientation, T* d_tau,
                              T* d_albedo, T* d_gradient) {
  const ShadeCompositeInput<T> p{tau,        albedo, gradient,       x,       t,       dt,          offsets,
                                 directions, view,   light_position, ambient, diffuse, textureless, background,
                                 rays,       views,  early_stop,     eps};
  const ShadeCompositeGradients<T> d{d_color,       d_opacity, d_depth,  d_normal,
                                     d_orientation, d_tau,     d_albedo, gradient ? d_gradient : nullptr};
  parallel_chunks(launch.threads, rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) backward(p, d, r);
  });
}

#define INSTANTIATE(T)                                                                                               \
  template void shade_composite(Launch, const T*, const T*, const T*, const T*, const T*, const T*, const int32_t*,  \
                                const T*, const int32_t*, const T*, const T*, const T*, const T*, const T*, int64_t, \
                                int64_t, T, T, T*, T*, T*, T*, T*);                                                  \
  template void shade_composite_backward(Launch, const T*, const T*, const T*, const T*, const T*, const T*,         \
                                         const int32_t*, const T*, const int32_t*, const T*, const T*, const T*,     \
                                         const T*, const T*, int64_t, int64_t, T, T, const T*, const T*, const T*,   \
                                         const T*, const T*, T*, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace dfast::cpu
