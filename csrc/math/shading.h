// Normals from a density gradient, and Lambertian shading, each beside its VJP.
#pragma once
#include <cmath>

#include "math/common.h"

namespace dfast {

template <class T>
DFAST_HD T dot3(const T* a, const T* b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// Computes n = -g / q, q = sqrt(|g|^2 + eps): density falls along the outward normal. Returns 1 / q.
template <class T>
DFAST_HD T normal_of(const T* g /* [3] */, T eps, T* n /* [3] */) {
  const T inverse = T(1) / std::sqrt(dot3(g, g) + eps);
  for (int c = 0; c < 3; ++c) n[c] = -g[c] * inverse;
  return inverse;
}

// dn/dg = -(I / q - g g^T / q^3) = -(I - n n^T) / q: symmetric, and exact with eps, since n n^T = g g^T / q^2.
template <class T>
DFAST_HD void normal_vjp(const T* n, T inverse, const T* d_n, T* d_g) {
  const T along = dot3(n, d_n);
  for (int c = 0; c < 3; ++c) d_g[c] = -(d_n[c] - n[c] * along) * inverse;
}

// Computes the unit vector from x to the light, zero when the light is at x.
template <class T>
DFAST_HD void light_direction(const T* x, const T* light, T* l) {
  for (int c = 0; c < 3; ++c) l[c] = light[c] - x[c];
  const T squared = dot3(l, l);
  const T inverse = squared > T(0) ? T(1) / std::sqrt(squared) : T(0);
  for (int c = 0; c < 3; ++c) l[c] *= inverse;
}

// The lighting of one camera.
template <class T>
struct Lighting {
  T position[3];  // position of the point light, world
  T ambient;      // l_a
  T diffuse;      // l_d
  T white;        // in [0, 1], fraction by which the albedo is replaced by white
};

// One sample's colour: c = rho light, light = l_d max(0, n.l) + l_a, rho = albedo + white (1 - albedo).
template <class T>
struct Shaded {
  T n[3];     // normal
  T inverse;  // 1 / q of the normal
  T l[3];     // unit vector to the light
  T rho[3];
  T cosine;  // n.l
  T light;
};

// Shades one point. Without a gradient the normal is zero, and only the ambient light is left.
template <class T>
DFAST_HD Shaded<T> shade_point(const Lighting<T>& lighting, const T* gradient /* [3], nullable */,
                               const T* albedo /* [3] */, const T* x /* [3], unread without gradient */, T eps) {
  Shaded<T> s = {};
  if (gradient) {
    s.inverse = normal_of(gradient, eps, s.n);
    light_direction(x, lighting.position, s.l);
    s.cosine = dot3(s.n, s.l);
  }
  s.light = lighting.diffuse * (s.cosine > T(0) ? s.cosine : T(0)) + lighting.ambient;
  for (int c = 0; c < 3; ++c) s.rho[c] = albedo[c] + lighting.white * (T(1) - albedo[c]);
  return s;
}

// d rho = d_rgb light,  d light = d_rgb . rho,  d n = d_normal + [n.l > 0] l_d d_light l,  and d g by normal_vjp.
// d_normal is the gradient of the normal on all paths but that of the colour.
template <class T>
DFAST_HD void shade_point_vjp(const Lighting<T>& lighting, const Shaded<T>& s, const T* d_rgb, const T* d_normal,
                              T* d_albedo, T* d_gradient /* nullable */) {
  for (int c = 0; c < 3; ++c) d_albedo[c] = d_rgb[c] * s.light * (T(1) - lighting.white);
  if (!d_gradient) return;
  const T d_cosine = s.cosine > T(0) ? lighting.diffuse * dot3(d_rgb, s.rho) : T(0);
  T d_n[3];
  for (int c = 0; c < 3; ++c) d_n[c] = d_normal[c] + d_cosine * s.l[c];
  normal_vjp(s.n, s.inverse, d_n, d_gradient);
}

}  // namespace dfast
