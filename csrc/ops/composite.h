// Volume compositing of one ray: colour (premultiplied, without background), depth, opacity, weights.
#pragma once
#include <cstdint>

#include "math/emission_absorption.h"
#include "ops/launcher.h"

namespace dfast {

template <class T>
struct CompositeParams {
  const T* density;        // [M] density per unit length, >= 0
  const T* dt;             // [M] interval lengths
  const T* rgb;            // [M, C]
  const T* t;              // [M] distances
  const int32_t* offsets;  // [R + 1] samples of ray r: offsets[r] .. offsets[r + 1]
  int64_t samples;         // M
  int64_t rays;            // R
  int channels;            // C
  T early_stop_eps;        // samples whose T_i is below it have zero weight
  T* color;                // [R, C] sum w c
  T* depth;                // [R]    sum w t
  T* opacity;              // [R]    sum w
  T* weights;              // [M]    0 for samples of no ray (written by the launchers)

  DFAST_FIELDS(density, dt, rgb, t, offsets, samples, rays, channels, early_stop_eps, color, depth, opacity, weights)
};

template <class T>
DFAST_HD void composite_ray(const CompositeParams<T>& p, int64_t r) {
  const int channels = p.channels;
  T* color = p.color + r * channels;
  for (int c = 0; c < channels; ++c) color[c] = T(0);
  T transmittance = T(1), depth = T(0), opacity = T(0);
  T r0 = T(0), r1 = T(0), r2 = T(0);  // three channels, the usual number, stay in registers
  const int64_t end = p.offsets[r + 1];
  int64_t i = p.offsets[r];
  for (; i < end && transmittance >= p.early_stop_eps; ++i) {
    const T w = absorb(&transmittance, p.density[i], p.dt[i]);
    p.weights[i] = w;
    depth += w * p.t[i];
    opacity += w;
    const T* rgb = p.rgb + i * channels;
    if (channels == 3) {
      r0 += w * rgb[0];
      r1 += w * rgb[1];
      r2 += w * rgb[2];
    } else {
      for (int c = 0; c < channels; ++c) color[c] += w * rgb[c];
    }
  }
  for (; i < end; ++i) p.weights[i] = T(0);
  if (channels == 3) {
    color[0] = r0;
    color[1] = r1;
    color[2] = r2;
  }
  p.depth[r] = depth;
  p.opacity[r] = opacity;
}

template <class T>
struct CompositeBackwardParams {
  const T* density;        // [M]
  const T* dt;             // [M]
  const T* rgb;            // [M, C]
  const T* t;              // [M]
  const int32_t* offsets;  // [R + 1]
  const T* d_color;        // [R, C] or null: zero
  const T* d_depth;        // [R] or null
  const T* d_opacity;      // [R] or null
  const T* d_weights;      // [M] or null
  int64_t samples;         // M
  int64_t rays;            // R
  int channels;            // C
  T early_stop_eps;
  T* d_density;  // [M]    0 for samples of no ray
  T* d_rgb;      // [M, C] 0 for samples of no ray

  DFAST_FIELDS(density, dt, rgb, t, offsets, d_color, d_depth, d_opacity, d_weights, samples, rays, channels,
               early_stop_eps, d_density, d_rgb)
};

// dL/dw_i = d_color . c_i + d_depth t_i + d_opacity + d_weights_i. A first pass along the ray recomputes T_{i+1}, which
// it keeps in d_density. A second pass in the opposite direction accumulates the gradients of the samples behind.
template <class T>
DFAST_HD void composite_ray_backward(const CompositeBackwardParams<T>& p, int64_t r) {
  const int channels = p.channels;
  const int64_t begin = p.offsets[r], end = p.offsets[r + 1];
  const T* d_color = p.d_color ? p.d_color + r * channels : nullptr;
  const T d_depth = p.d_depth ? p.d_depth[r] : T(0);
  const T d_opacity = p.d_opacity ? p.d_opacity[r] : T(0);
  T transmittance = T(1);
  int64_t stop = begin;
  for (; stop < end && transmittance >= p.early_stop_eps; ++stop) {
    absorb(&transmittance, p.density[stop], p.dt[stop]);
    p.d_density[stop] = transmittance;
  }
  for (int64_t i = stop; i < end; ++i) {
    p.d_density[i] = T(0);
    for (int c = 0; c < channels; ++c) p.d_rgb[i * channels + c] = T(0);
  }
  T behind = T(0);
  for (int64_t i = stop - 1; i >= begin; --i) {
    const T alpha = alpha_of(p.density[i], p.dt[i]);
    const T w = (i > begin ? p.d_density[i - 1] : T(1)) * alpha;
    T g = d_opacity + d_depth * p.t[i];
    if (p.d_weights) g += p.d_weights[i];
    for (int c = 0; c < channels; ++c) {
      const T d = d_color ? d_color[c] : T(0);
      g += d * p.rgb[i * channels + c];
      p.d_rgb[i * channels + c] = w * d;
    }
    p.d_density[i] = absorb_vjp(g, behind, p.d_density[i], p.dt[i]);
    behind += alpha * (g - behind);
  }
}

#define DFAST_COMPOSITE(X)                    \
  DFAST_FLOATS(X, composite, CompositeParams) \
  DFAST_FLOATS(X, composite_backward, CompositeBackwardParams)
DFAST_COMPOSITE(DFAST_DECLARE)

}  // namespace dfast
