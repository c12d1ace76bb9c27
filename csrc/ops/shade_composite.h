// Shading and compositing of one ray in one pass, which stores no colour, weight or normal of a sample.
//
// With c_i and n_i as in math/shading.h and w_i as in math/emission_absorption.h, a ray's results are
//     color = sum w c + (1 - sum w) background,  opacity = sum w,  depth = sum w t,  normal = sum w n,
//     orientation = sum stop(w) max(0, n.v)^2, where v is the ray's direction (the penalty of
//     Ref-NeRF, arXiv 2112.03907, on normals that face away).
#pragma once
#include <cstdint>

#include "math/emission_absorption.h"
#include "math/shading.h"
#include "ops/launcher.h"

namespace dfast {

template <class T>
struct ShadeCompositeInput {
  const T* density;           // [M] density per unit length, >= 0
  const T* albedo;            // [M, 3] in [0, 1]
  const T* gradient;          // [M, 3] of the pre-activation density; null: normals are zero
  const T* x;                 // [M, 3] world
  const T* t;                 // [M] distances
  const T* dt;                // [M] interval lengths
  const int32_t* offsets;     // [R + 1] samples of ray r: offsets[r] .. offsets[r + 1]
  const T* directions;        // [R, 3] unit
  const int32_t* camera_ids;  // [R] in [0, B); null: each camera_ids has R / B neighbouring rays
  const T* light_position;    // [B, 3] world
  const T* ambient;           // [B]
  const T* diffuse;           // [B]
  const T* textureless;       // [B]
  const T* background;        // [B, 3] or null: zero
  int64_t rays;               // R
  int64_t views;              // B
  T early_stop_eps;           // samples whose T_i is below it have zero weight
  T eps;                      // added under the root of the normal's length

  DFAST_FIELDS(density, albedo, gradient, x, t, dt, offsets, directions, camera_ids, light_position, ambient, diffuse,
               textureless, background, rays, views, early_stop_eps, eps)

  DFAST_HD int64_t camera_of(int64_t r) const { return camera_ids ? camera_ids[r] : r / (rays / views); }
};

// The values that all samples of a ray share.
template <class T>
struct ShadeCompositeRay {
  Lighting<T> lighting;
  T direction[3];
  T background[3];

  DFAST_HD ShadeCompositeRay(const ShadeCompositeInput<T>& p, int64_t r) {
    const int64_t v = p.camera_of(r);
    for (int c = 0; c < 3; ++c) {
      lighting.position[c] = p.light_position[3 * v + c];
      direction[c] = p.directions[3 * r + c];
      background[c] = p.background ? p.background[3 * v + c] : T(0);
    }
    lighting.ambient = p.ambient[v];
    lighting.diffuse = p.diffuse[v];
    lighting.white = p.textureless[v];
  }
  // Returns max(0, n.v).
  DFAST_HD T facing_away(const T* n) const {
    const T along = dot3(n, direction);
    return along > T(0) ? along : T(0);
  }
};

template <class T>
struct ShadeCompositeOutput {
  T* color;        // [R, 3]
  T* opacity;      // [R]
  T* depth;        // [R]
  T* normal;       // [R, 3]
  T* orientation;  // [R]

  DFAST_FIELDS(color, opacity, depth, normal, orientation)
};

// The sums over a ray's samples so far.
template <class T>
struct ShadeCompositeSums {
  T color[3] = {}, normal[3] = {};
  T opacity = T(0), depth = T(0), orientation = T(0);

  DFAST_HD void add(const ShadeCompositeRay<T>& ray, const Shaded<T>& s, T w, T t) {
    const T facing = ray.facing_away(s.n);
    for (int c = 0; c < 3; ++c) {
      color[c] += w * s.light * s.rho[c];
      normal[c] += w * s.n[c];
    }
    opacity += w;
    depth += w * t;
    orientation += w * facing * facing;
  }
  DFAST_HD void write(const ShadeCompositeOutput<T>& out, const T* background, int64_t r) const {
    for (int c = 0; c < 3; ++c) {
      out.color[3 * r + c] = color[c] + (T(1) - opacity) * background[c];
      out.normal[3 * r + c] = normal[c];
    }
    out.opacity[r] = opacity;
    out.depth[r] = depth;
    out.orientation[r] = orientation;
  }
};

template <class T>
struct ShadeCompositeGradients {
  const T* d_color;        // [R, 3] or null: zero
  const T* d_opacity;      // [R] or null
  const T* d_depth;        // [R] or null
  const T* d_normal;       // [R, 3] or null
  const T* d_orientation;  // [R] or null
  T* d_density;            // [M]; unset for samples of no ray, as are the other two
  T* d_albedo;             // [M, 3]
  T* d_gradient;           // [M, 3] or null

  DFAST_FIELDS(d_color, d_opacity, d_depth, d_normal, d_orientation, d_density, d_albedo, d_gradient)
};

// The gradients of one ray's results, and from them those of its samples:
//     dL/dw = d_color . (c - background) + d_opacity + d_depth t + d_normal . n
//     d_c = w d_color,  d_n = w (d_normal + 2 d_orientation max(0, n.v) v) + the gradient through c.
template <class T>
struct ShadeCompositeAdjoint {
  T color[3], normal[3];
  T opacity, depth, orientation;

  DFAST_HD ShadeCompositeAdjoint(const ShadeCompositeGradients<T>& d, const T* background, int64_t r) {
    opacity = d.d_opacity ? d.d_opacity[r] : T(0);
    depth = d.d_depth ? d.d_depth[r] : T(0);
    orientation = d.d_orientation ? d.d_orientation[r] : T(0);
    for (int c = 0; c < 3; ++c) {
      color[c] = d.d_color ? d.d_color[3 * r + c] : T(0);
      normal[c] = d.d_normal ? d.d_normal[3 * r + c] : T(0);
    }
    opacity -= dot3(color, background);
  }
  DFAST_HD T weight(const Shaded<T>& s, T t) const {
    return s.light * dot3(color, s.rho) + opacity + depth * t + dot3(normal, s.n);
  }
  DFAST_HD void sample(const ShadeCompositeRay<T>& ray, const Shaded<T>& s, T w, T* d_albedo, T* d_gradient) const {
    const T away = T(2) * orientation * ray.facing_away(s.n);
    T d_rgb[3], d_n[3];
    for (int c = 0; c < 3; ++c) {
      d_rgb[c] = w * color[c];
      d_n[c] = w * (normal[c] + away * ray.direction[c]);
    }
    shade_point_vjp(ray.lighting, s, d_rgb, d_n, d_albedo, d_gradient);
  }
};

template <class T>
struct ShadeCompositeParams {
  ShadeCompositeInput<T> in;
  ShadeCompositeOutput<T> out;

  DFAST_FIELDS(in, out)
};

template <class T>
struct ShadeCompositeBackwardParams {
  ShadeCompositeInput<T> in;
  ShadeCompositeGradients<T> d;

  DFAST_FIELDS(in, d)
};

#define DFAST_SHADE_COMPOSITE(X)                         \
  DFAST_FLOATS(X, shade_composite, ShadeCompositeParams) \
  DFAST_FLOATS(X, shade_composite_backward, ShadeCompositeBackwardParams)
DFAST_SHADE_COMPOSITE(DFAST_DECLARE)

}  // namespace dfast
