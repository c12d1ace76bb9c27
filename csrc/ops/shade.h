// Shading of one sample: c = rho (l_d max(0, n.l) + l_a), rho = albedo + textureless (1 - albedo).
#pragma once
#include <cstdint>

#include "math/shading.h"

namespace dfast {

template <class T>
struct ShadeParams {
  const T* gradient;        // [M, 3] gradient of the pre-activation density
  const T* albedo;          // [M, 3] in [0, 1]
  const T* position;        // [M, 3] world
  const T* light_position;  // [B, 3] world
  const T* ambient;         // [B] l_a
  const T* diffuse;         // [B] l_d
  const T* textureless;     // [B] in [0, 1]
  const int32_t* view;      // [M] which of the B views, in [0, B)
  int64_t samples;          // M
  T eps;                    // under the root of the normal's length
  T* rgb;                   // [M, 3]
  T* normal;                // [M, 3]
};

template <class T>
DFAST_HD void shade_sample(const ShadeParams<T>& p, int64_t i) {
  const int64_t v = p.view[i];
  T n[3], l[3];
  normal_of(p.gradient + 3 * i, p.eps, n);
  light_direction(p.position + 3 * i, p.light_position + 3 * v, l);
  const T cosine = dot3(n, l);
  const T light = p.diffuse[v] * (cosine > T(0) ? cosine : T(0)) + p.ambient[v];
  const T white = p.textureless[v];
  for (int c = 0; c < 3; ++c) {
    const T albedo = p.albedo[3 * i + c];
    p.rgb[3 * i + c] = (albedo + white * (T(1) - albedo)) * light;
    p.normal[3 * i + c] = n[c];
  }
}

template <class T>
struct ShadeBackwardParams {
  const T* gradient;        // [M, 3]
  const T* albedo;          // [M, 3]
  const T* position;        // [M, 3]
  const T* light_position;  // [B, 3]
  const T* ambient;         // [B]
  const T* diffuse;         // [B]
  const T* textureless;     // [B]
  const int32_t* view;      // [M]
  const T* d_rgb;           // [M, 3] or null: zero
  const T* d_normal;        // [M, 3] or null: zero
  int64_t samples;          // M
  T eps;
  T* d_gradient;  // [M, 3]
  T* d_albedo;    // [M, 3]
};

// With light = l_d max(0, n.l) + l_a:  d rho = d_rgb light,  d light = d_rgb . rho,
// d n = d_normal + [n.l > 0] l_d d_light l,  and d g by normal_vjp.
template <class T>
DFAST_HD void shade_sample_backward(const ShadeBackwardParams<T>& p, int64_t i) {
  const int64_t v = p.view[i];
  T n[3], l[3], d_n[3];
  const T inverse = normal_of(p.gradient + 3 * i, p.eps, n);
  light_direction(p.position + 3 * i, p.light_position + 3 * v, l);
  const T cosine = dot3(n, l);
  const T light = p.diffuse[v] * (cosine > T(0) ? cosine : T(0)) + p.ambient[v];
  const T white = p.textureless[v];
  T d_light = T(0);
  for (int c = 0; c < 3; ++c) {
    const T albedo = p.albedo[3 * i + c];
    const T d_rgb = p.d_rgb ? p.d_rgb[3 * i + c] : T(0);
    d_light += d_rgb * (albedo + white * (T(1) - albedo));
    p.d_albedo[3 * i + c] = d_rgb * light * (T(1) - white);
  }
  const T d_cosine = cosine > T(0) ? p.diffuse[v] * d_light : T(0);
  for (int c = 0; c < 3; ++c) d_n[c] = (p.d_normal ? p.d_normal[3 * i + c] : T(0)) + d_cosine * l[c];
  normal_vjp(n, inverse, d_n, p.d_gradient + 3 * i);
}

DFAST_LAUNCHERS(template <class T>
                void shade(Launch launch, const T* gradient, const T* albedo, const T* position,
                           const T* light_position, const T* ambient, const T* diffuse, const T* textureless,
                           const int32_t* view, int64_t samples, T eps, T* rgb, T* normal);
                template <class T>
                void shade_backward(Launch launch, const T* gradient, const T* albedo, const T* position,
                                    const T* light_position, const T* ambient, const T* diffuse, const T* textureless,
                                    const int32_t* view, const T* d_rgb, const T* d_normal, int64_t samples, T eps,
                                    T* d_gradient, T* d_albedo);)

}  // namespace dfast
