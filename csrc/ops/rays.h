// Rays through the pixel centres of pinhole cameras with square images.
#pragma once
#include <cmath>
#include <cstdint>

#include "ops/launcher.h"

namespace dfast {

template <class T>
struct RaysParams {
  const T* origin;    // [B, 3]
  const T* rotation;  // [B, 3, 3] camera to world; the camera looks along -z, y is up
  const T* fov;       // [B] degrees, of the whole image
  int64_t views;      // B
  int resolution;     // N pixels a side
  T* origins;         // [B N N, 3] row-major, row 0 the top
  T* directions;      // [B N N, 3] unit

  DFAST_FIELDS(origin, rotation, fov, views, resolution, origins, directions)
};

template <class T>
DFAST_HD void pixel_ray(const RaysParams<T>& p, int64_t r) {
  const int64_t pixels = static_cast<int64_t>(p.resolution) * p.resolution, v = r / pixels;
  const int pixel = static_cast<int>(r - v * pixels), row = pixel / p.resolution, column = pixel - row * p.resolution;
  const T slope = std::tan(p.fov[v] * T(3.14159265358979323846 / 360)), spacing = T(2) / T(p.resolution);
  const T right = ((T(column) + T(0.5)) * spacing - T(1)) * slope;
  const T up = (T(1) - (T(row) + T(0.5)) * spacing) * slope;
  const T inverse = T(1) / std::sqrt(right * right + up * up + T(1));
  const T* m = p.rotation + 9 * v;
  for (int c = 0; c < 3; ++c) {
    p.origins[3 * r + c] = p.origin[3 * v + c];
    p.directions[3 * r + c] = (m[3 * c] * right + m[3 * c + 1] * up - m[3 * c + 2]) * inverse;
  }
}

#define DFAST_RAYS(X) DFAST_FLOATS(X, pixel_rays, RaysParams)
DFAST_RAYS(DFAST_DECLARE)

}  // namespace dfast
