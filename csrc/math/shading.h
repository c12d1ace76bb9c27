// Normals from a density gradient and Lambertian shading, each beside its vjp.
#pragma once
#include <cmath>

#include "math/common.h"

namespace dfast {

template <class T>
DFAST_HD T dot3(const T* a, const T* b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// n = -g / q, q = sqrt(|g|^2 + eps): density falls along the outward normal. Returns 1 / q.
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

// Unit vector from x to the light; zero when the light sits on x.
template <class T>
DFAST_HD void light_direction(const T* x, const T* light, T* l) {
  for (int c = 0; c < 3; ++c) l[c] = light[c] - x[c];
  const T squared = dot3(l, l);
  const T inverse = squared > T(0) ? T(1) / std::sqrt(squared) : T(0);
  for (int c = 0; c < 3; ++c) l[c] *= inverse;
}

}  // namespace dfast
