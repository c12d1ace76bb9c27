// The level of a mip chain at which a pixel is about as large as a texel: log2 of the longer of the two steps that the
// position in the texture makes from a pixel to the next, in texels.
#pragma once
#include <cmath>
#include <cstdint>

#include "math/screen.h"
#include "math/triangle.h"
#include "ops/launcher.h"

namespace dfast {

template <class T>
struct TextureLevelParams {
  const T* clip;            // [B, V, 4]
  const int32_t* faces;     // [F, 3] in [0, V)
  const T* uv;              // [A, 2]
  const int32_t* uv_faces;  // [F, 3] in [0, A)
  const int32_t* face;      // [B, N, N]
  int64_t views;            // B
  int64_t vertices;         // V
  int resolution;           // N
  int height, width;        // texels of level 0
  T* level;                 // [B, N, N] at least 0; 0 where no triangle is seen

  DFAST_FIELDS(clip, faces, uv, uv_faces, face, views, vertices, resolution, height, width, level)
};

// With b_k = e_k / S and S = sum e: db_k = (de_k - b_k dS) / S, where moving the pixel's centre by dX moves every q_k
// by -w_k dX along x.
template <class T>
DFAST_HD void level_of_pixel(const TextureLevelParams<T>& p, const PixelPlace& place) {
  const int64_t i = place.index;
  p.level[i] = T(0);
  if (p.face[i] < 0) return;
  const int64_t face = 3 * static_cast<int64_t>(p.face[i]);
  const T inverse = T(1) / T(p.resolution);
  Triangle<T> t;
  t.load(p.clip + 4 * p.vertices * place.view, p.faces + face);
  T at[2];
  place.center(at);
  T qx[3], qy[3], e[3];
  for (int k = 0; k < 3; ++k) t.relative(k, at[0], at[1], qx + k, qy + k);
  for (int k = 0; k < 3; ++k) e[k] = t.edge(k, qx, qy);
  const T inverse_sum = T(1) / (e[0] + e[1] + e[2]);
  T longest = T(0);
  for (int axis = 0; axis < 2; ++axis) {
    T d_e[3];
    for (int k = 0; k < 3; ++k) {
      const int a = (k + 1) % 3, b = (k + 2) % 3;
      d_e[k] = axis == 0 ? t.w[b] * qy[a] - t.w[a] * qy[b] : t.w[a] * qx[b] - t.w[b] * qx[a];
    }
    const T d_sum = d_e[0] + d_e[1] + d_e[2];
    T du = T(0), dv = T(0);
    for (int k = 0; k < 3; ++k) {
      const T d_b = (d_e[k] - e[k] * inverse_sum * d_sum) * inverse_sum;
      const T* uv = p.uv + 2 * static_cast<int64_t>(p.uv_faces[face + k]);
      du += d_b * uv[0];
      dv += d_b * uv[1];
    }
    du *= T(p.width) * T(2) * inverse;  // a pixel is 2 / N wide
    dv *= T(p.height) * T(2) * inverse;
    const T squared = du * du + dv * dv;
    if (squared > longest) longest = squared;
  }
  if (longest > T(1)) p.level[i] = T(0.5) * std::log2(longest);
}

#define DFAST_TEXTURE_LEVEL(X) DFAST_FLOATS(X, texture_level, TextureLevelParams)
DFAST_TEXTURE_LEVEL(DFAST_DECLARE)

}  // namespace dfast
