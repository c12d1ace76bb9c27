#include "ops/shade_composite.h"

#include "cpu/parallel.h"

namespace dfast::cpu {

namespace {

constexpr int64_t kRays = 256;  // rays of a chunk

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
  for (int64_t i = p.offsets[r]; i < end && transmittance >= p.early_stop_eps; ++i) {
    const T w = absorb(&transmittance, p.density[i], p.dt[i]);
    sums.add(ray, shade_at(p, ray, i), w, p.t[i]);
  }
  sums.write(out, ray.background, r);
}

// A first pass along the ray recomputes T_{i+1}, which it keeps in d_density. A second pass in the opposite direction
// accumulates the gradients of the samples behind.
template <class T>
void backward(const ShadeCompositeInput<T>& p, const ShadeCompositeGradients<T>& d, int64_t r) {
  const int64_t begin = p.offsets[r], end = p.offsets[r + 1];
  T transmittance = T(1);
  int64_t stop = begin;
  for (; stop < end && transmittance >= p.early_stop_eps; ++stop) {
    absorb(&transmittance, p.density[stop], p.dt[stop]);
    d.d_density[stop] = transmittance;
  }
  for (int64_t i = stop; i < end; ++i) {
    d.d_density[i] = T(0);
    for (int c = 0; c < 3; ++c) d.d_albedo[3 * i + c] = T(0);
    for (int c = 0; d.d_gradient && c < 3; ++c) d.d_gradient[3 * i + c] = T(0);
  }
  if (begin == stop) return;
  const ShadeCompositeRay<T> ray(p, r);
  const ShadeCompositeAdjoint<T> adjoint(d, ray.background, r);
  T behind = T(0);
  for (int64_t i = stop - 1; i >= begin; --i) {
    const Shaded<T> s = shade_at(p, ray, i);
    const T alpha = alpha_of(p.density[i], p.dt[i]);
    const T w = (i > begin ? d.d_density[i - 1] : T(1)) * alpha;
    const T g = adjoint.weight(s, p.t[i]);
    adjoint.sample(ray, s, w, d.d_albedo + 3 * i, d.d_gradient ? d.d_gradient + 3 * i : nullptr);
    d.d_density[i] = absorb_vjp(g, behind, d.d_density[i], p.dt[i]);
    behind += alpha * (g - behind);
  }
}

}  // namespace

template <class T>
void shade_composite(Launch launch, const ShadeCompositeParams<T>& p) {
  parallel_chunks(launch.threads, p.in.rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) forward(p.in, p.out, r);
  });
}

template <class T>
void shade_composite_backward(Launch launch, const ShadeCompositeBackwardParams<T>& p) {
  ShadeCompositeGradients<T> d = p.d;
  if (!p.in.gradient) d.d_gradient = nullptr;
  parallel_chunks(launch.threads, p.in.rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) backward(p.in, d, r);
  });
}

DFAST_SHADE_COMPOSITE(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
