// Rays, the bounding sphere and the occupancy bitfield's bricks. No loops over samples here.
#pragma once
#include <cmath>
#include <cstdint>

#include "math/common.h"

namespace dfast {

// Computes where the ray o + t d (|d| = 1) is inside the sphere |x| = radius and in front of the origin.
// Solves t^2 + 2 b t + c = 0 with b = o.d, c = |o|^2 - radius^2, whose discriminant is written through
// the closest point, radius^2 - |o - (o.d) d|^2, because b*b - c cancels for distant origins.
// Returns false (near = far = 0) on a miss, a graze or a sphere behind the origin.
template <class T>
DFAST_HD bool ray_sphere(const T* o /* [3] */, const T* d /* [3] */, T radius, T* near, T* far) {
  *near = T(0);
  *far = T(0);
  const T b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2];
  const T px = o[0] - b * d[0], py = o[1] - b * d[1], pz = o[2] - b * d[2];
  const T half_squared = radius * radius - (px * px + py * py + pz * pz);
  if (!(half_squared > T(0))) return false;
  const T half = std::sqrt(half_squared);
  if (!(half - b > T(0))) return false;
  *near = -b - half > T(0) ? -b - half : T(0);
  *far = half - b;
  return *far > *near;
}

// The occupancy bitfield stores bricks of 4x4x4 cells, one 64-bit little-endian word each, so that one read shows
// whether all 64 cells are empty. Bricks are in x-major order, and so are the cells in them.
DFAST_HD int64_t brick_index(int x, int y, int z, int bricks) {
  return (static_cast<int64_t>(x >> 2) * bricks + (y >> 2)) * bricks + (z >> 2);
}
DFAST_HD int brick_bit(int x, int y, int z) { return ((x & 3) << 4) | ((y & 3) << 2) | (z & 3); }

DFAST_HD int clamp_cell(int i, int resolution) { return i < 0 ? 0 : (i >= resolution ? resolution - 1 : i); }

// Returns the distance along one axis at which the ray leaves the block of `size` cells that holds cell `i`
// (size a power of two). o and d are in cells. The face is moved inwards by `margin` cells, so that rounding
// never reports a later exit than the true one.
template <class T>
DFAST_HD T exit_distance(T o, T d, T inverse_d, int i, int size, T margin) {
  const int low = i & ~(size - 1);
  if (d > T(0)) return (T(low + size) - margin - o) * inverse_d;
  if (d < T(0)) return (T(low) + margin - o) * inverse_d;
  return T(1e30);
}

}  // namespace dfast
