// Volume compositing of one ray: colour (premultiplied, no background), depth, opacity, weights.
#pragma once
#include <cstdint>

#include "math/emission_absorption.h"

namespace dfast {

template <class T>
struct CompositeParams {
  const T* tau;            // [M] density per unit length, >= 0
  const T* dt;             // [M] interval lengths
  const T* rgb;            // [M, C]
  const T* t;              // [M] distances
  const int32_t* offsets;  // [R + 1] samples of ray r: offsets[r] .. offsets[r + 1]
  int64_t rays;            // R
  int channels;            // C
  T early_stop;            // samples whose T_i is below it weigh nothing
  T* color;                // [R, C] sum w c
  T* depth;                // [R]    sum w t
  T* opacity;              // [R]    sum w
  T* weights;              // [M]    zeroed by the caller (samples of no ray keep the zero)
};

template <class T>
DFAST_HD void composite_ray(const CompositeParams<T>& p, int64_t r) {
  const int channels = p.channels;
  T* color = p.color + r * channels;
  for (int c = 0; c < channels; ++c) color[c] = T(0);
  T transmittance = T(1), depth = T(0), opacity = T(0);
  T r0 = T(0), r1 = T(0), r2 = T(0);  // the usual three channels stay in registers
  const int64_t end = p.offsets[r + 1];
  for (int64_t i = p.offsets[r]; i < end && transmittance >= p.early_stop; ++i) {
    const T w = absorb(&transmittance, p.tau[i], p.dt[i]);
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
  const T* tau;            // [M]
  const T* dt;             // [M]
  const T* rgb;            // [M, C]
  const T* t;              // [M]
  const int32_t* offsets;  // [R + 1]
  const T* weights;        // [M] from the forward pass
  const T* d_color;        // [R, C] or null: zero
  const T* d_depth;        // [R] or null
  const T* d_opacity;      // [R] or null
  const T* d_weights;      // [M] or null
  int64_t rays;            // R
  int channels;            // C
  T early_stop;
  T* d_tau;  // [M]    zeroed by the caller
  T* d_rgb;  // [M, C] zeroed by the caller
};

// dL/dw_i = d_color . c_i + d_depth t_i + d_opacity + d_weights_i. One pass down the ray rebuilds T_{i+1}
// (kept in d_tau meanwhile), one pass back up sums the later terms.
template <class T>
DFAST_HD void composite_ray_backward(const CompositeBackwardParams<T>& p, int64_t r) {
  const int channels = p.channels;
  const int64_t begin = p.offsets[r], end = p.offsets[r + 1];
  const T* d_color = p.d_color ? p.d_color + r * channels : nullptr;
  const T d_depth = p.d_depth ? p.d_depth[r] : T(0);
  const T d_opacity = p.d_opacity ? p.d_opacity[r] : T(0);
  T transmittance = T(1);
  int64_t stop = begin;
  for (; stop < end && transmittance >= p.early_stop; ++stop) {
    transmittance -= p.weights[stop];
    p.d_tau[stop] = transmittance;
  }
  T later = T(0);
  for (int64_t i = stop - 1; i >= begin; --i) {
    const T w = p.weights[i];
    T g = d_opacity + d_depth * p.t[i];
    if (p.d_weights) g += p.d_weights[i];
    if (d_color) {
      const T* rgb = p.rgb + i * channels;
      T* d_rgb = p.d_rgb + i * channels;
      for (int c = 0; c < channels; ++c) {
        g += d_color[c] * rgb[c];
        d_rgb[c] = w * d_color[c];
      }
    }
    p.d_tau[i] = absorb_vjp(g, p.d_tau[i], later, p.dt[i]);
    later += g * w;
  }
}

DFAST_LAUNCHERS(template <class T> void composite(Launch launch, const T* tau, const T* dt, const T* rgb, const T* t,
                                                  const int32_t* offsets, int64_t rays, int channels, T early_stop,
                                                  T* color, T* depth, T* opacity, T* weights);
                template <class T>
                void composite_backward(Launch launch, const T* tau, const T* dt, const T* rgb, const T* t,
                                        const int32_t* offsets, const T* weights, const T* d_color, const T* d_depth,
                                        const T* d_opacity, const T* d_weights, int64_t rays, int channels,
                                        T early_stop, T* d_tau, T* d_rgb);)

}  // namespace dfast
