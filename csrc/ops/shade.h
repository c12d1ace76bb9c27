// Shading of single samples; the formulas are in math/shading.h.
#pragma once
#include <cstdint>

#include "math/shading.h"
#include "ops/launcher.h"

namespace dfast {

template <class T>
struct ShadeParams {
  const T* gradient;          // [M, 3] gradient of the pre-activation density
  const T* albedo;            // [M, 3] in [0, 1]
  const T* position;          // [M, 3] world
  const T* light_position;    // [B, 3] world
  const T* ambient;           // [B] l_a
  const T* diffuse;           // [B] l_d
  const T* textureless;       // [B] in [0, 1]
  const int32_t* camera_ids;  // [M] the sample's camera, in [0, B)
  int64_t samples;            // M
  T eps;                      // added under the root of the normal's length
  T* rgb;                     // [M, 3]
  T* normal;                  // [M, 3]

  DFAST_FIELDS(gradient, albedo, position, light_position, ambient, diffuse, textureless, camera_ids, samples, eps, rgb,
               normal)
};

// Returns the lighting of camera v from either of the two structs here.
template <class T, class Params>
DFAST_HD Lighting<T> lighting_of(const Params& p, int64_t v) {
  const T* light = p.light_position + 3 * v;
  return {{light[0], light[1], light[2]}, p.ambient[v], p.diffuse[v], p.textureless[v]};
}

template <class T>
DFAST_HD void shade_sample(const ShadeParams<T>& p, int64_t i) {
  const Lighting<T> lighting = lighting_of<T>(p, p.camera_ids[i]);
  const Shaded<T> s = shade_point(lighting, p.gradient + 3 * i, p.albedo + 3 * i, p.position + 3 * i, p.eps);
  for (int c = 0; c < 3; ++c) {
    p.rgb[3 * i + c] = s.rho[c] * s.light;
    p.normal[3 * i + c] = s.n[c];
  }
}

template <class T>
struct ShadeBackwardParams {
  const T* gradient;          // [M, 3]
  const T* albedo;            // [M, 3]
  const T* position;          // [M, 3]
  const T* light_position;    // [B, 3]
  const T* ambient;           // [B]
  const T* diffuse;           // [B]
  const T* textureless;       // [B]
  const int32_t* camera_ids;  // [M]
  const T* d_rgb;             // [M, 3] or null: zero
  const T* d_normal;          // [M, 3] or null: zero
  int64_t samples;            // M
  T eps;
  T* d_gradient;  // [M, 3]
  T* d_albedo;    // [M, 3]

  DFAST_FIELDS(gradient, albedo, position, light_position, ambient, diffuse, textureless, camera_ids, d_rgb, d_normal,
               samples, eps, d_gradient, d_albedo)
};

template <class T>
DFAST_HD void shade_sample_backward(const ShadeBackwardParams<T>& p, int64_t i) {
  const Lighting<T> lighting = lighting_of<T>(p, p.camera_ids[i]);
  const Shaded<T> s = shade_point(lighting, p.gradient + 3 * i, p.albedo + 3 * i, p.position + 3 * i, p.eps);
  T d_rgb[3], d_normal[3];
  for (int c = 0; c < 3; ++c) {
    d_rgb[c] = p.d_rgb ? p.d_rgb[3 * i + c] : T(0);
    d_normal[c] = p.d_normal ? p.d_normal[3 * i + c] : T(0);
  }
  shade_point_vjp(lighting, s, d_rgb, d_normal, p.d_albedo + 3 * i, p.d_gradient + 3 * i);
}

#define DFAST_SHADE(X)                \
  DFAST_FLOATS(X, shade, ShadeParams) \
  DFAST_FLOATS(X, shade_backward, ShadeBackwardParams)
DFAST_SHADE(DFAST_DECLARE)

}  // namespace dfast
