// Occupancy-guided ray marching: which intervals of a ray hold a sample.
//
// A ray is cut to the scene's sphere, [near, far], and divided into intervals from near on, each
// dt = max(step, a * growth) long (a: where it starts), the last one cut at far. The sample of interval
// [a, a + dt) lies at t = a + jitter * dt; it is kept when its cell's bit is set. Empty cells and empty
// bricks are skipped by a DDA that only ever jumps over intervals whose sample is in the empty block, so
// the result equals testing every interval, and sums of dt telescope to the chord where all is occupied.
#pragma once
#include <cstdint>

#include "math/ray.h"

namespace dfast {

template <class T>
struct MarchParams {
  const T* origins;      // [R, 3]
  const T* directions;   // [R, 3] unit
  const T* jitter;       // [R] in [0, 1), or null: 0.5, the middle
  const uint64_t* bits;  // [(resolution / 4)^3] bricks
  int64_t rays;          // R
  int resolution;        // cells a side, a multiple of 4
  T radius;              // of the sphere; the grid spans [-radius, radius]^3
  T step;                // shortest interval
  T growth;              // interval length per distance, 0: constant steps
};

// Calls emit(t, dt) for each kept sample of ray r, in order along the ray; emit returns false to stop.
template <class T, class Emit>
DFAST_HD void march_ray(const MarchParams<T>& p, int64_t r, Emit& emit) {
  const T* origin = p.origins + 3 * r;
  const T* direction = p.directions + 3 * r;
  T near, far;
  if (!ray_sphere(origin, direction, p.radius, &near, &far)) return;

  const T jitter = p.jitter ? p.jitter[r] : T(0.5);
  const T cells = T(p.resolution) / (T(2) * p.radius);
  const T ox = (origin[0] + p.radius) * cells, dx = direction[0] * cells;
  const T oy = (origin[1] + p.radius) * cells, dy = direction[1] * cells;
  const T oz = (origin[2] + p.radius) * cells, dz = direction[2] * cells;
  const T ix = T(1) / dx, iy = T(1) / dy, iz = T(1) / dz;  // infinite where parallel; not used there
  const T inverse_step = T(1) / p.step;
  const T margin = T(p.resolution) * T(1.0 / 262144);  // > 30 ulp of a float coordinate in cells
  const int bricks = p.resolution >> 2;
  const T growth_start = p.growth > T(0) ? p.step / p.growth : far;  // intervals grow from here on

  int64_t k = 0;  // interval number while constant
  T a = near;     // start of the interval
  while (a < far) {
    T length = a > growth_start ? a * p.growth : p.step;
    const T dt = length < far - a ? length : far - a;
    const T t = a + jitter * dt;
    const int x = clamp_cell(static_cast<int>(ox + t * dx), p.resolution);
    const int y = clamp_cell(static_cast<int>(oy + t * dy), p.resolution);
    const int z = clamp_cell(static_cast<int>(oz + t * dz), p.resolution);
    const uint64_t brick = p.bits[brick_index(x, y, z, bricks)];
    const bool kept = (brick >> brick_bit(x, y, z)) & 1u;
    if (kept && !emit(t, dt)) return;

    T leave = t;  // nothing with a sample before here is of interest
    if (!kept) {
      const int size = brick ? 1 : 4;
      const T ex = exit_distance(ox, dx, ix, x, size, margin);
      const T ey = exit_distance(oy, dy, iy, y, size, margin);
      const T ez = exit_distance(oz, dz, iz, z, size, margin);
      leave = ex < ey ? ex : ey;
      leave = ez < leave ? ez : leave;
      leave = leave < far ? leave : far;
    }
    if (p.growth > T(0)) {
      do {
        a += length;
        length = a > growth_start ? a * p.growth : p.step;
      } while (a + jitter * length <= leave);
    } else {
      // The first interval whose sample lies beyond `leave`. Starts are always near + k * step, so they
      // do not depend on what was skipped.
      const T beyond = (leave - near) * inverse_step - jitter;
      const int64_t next = beyond > T(0) ? static_cast<int64_t>(beyond) + 1 : 0;
      k = next > k + 1 ? next : k + 1;
      a = near + T(k) * p.step;
    }
  }
}

// emit for the counting pass.
template <class T>
struct MarchCount {
  int32_t count = 0;
  DFAST_HD bool operator()(T, T) {
    ++count;
    return true;
  }
};

// emit for the writing pass; stops at the end of the ray's slots.
template <class T>
struct MarchWrite {
  T* t;          // [M]
  T* dt;         // [M]
  int32_t* ray;  // [M]
  int32_t id;    // the ray
  int64_t slot;  // next slot
  int64_t end;   // offsets[id + 1]
  DFAST_HD bool operator()(T t_i, T dt_i) {
    if (slot >= end) return false;
    t[slot] = t_i;
    dt[slot] = dt_i;
    ray[slot] = id;
    return ++slot < end;
  }
};

DFAST_LAUNCHERS(
  // counts[r]: how many samples ray r keeps.
  template <class T>
  void march_count(Launch launch, const T* origins, const T* directions, const T* jitter, const uint64_t* bits,
                   int64_t rays, int resolution, T radius, T step, T growth, int32_t* counts /* [R] */);
  // Fills slots offsets[r] .. offsets[r + 1] of every ray; offsets may cut a ray short.
  template <class T>
  void march_write(Launch launch, const T* origins, const T* directions, const T* jitter, const uint64_t* bits,
                   int64_t rays, int resolution, T radius, T step, T growth, const int32_t* offsets /* [R + 1] */,
                   T* t /* [M] */, T* dt /* [M] */, int32_t* ray /* [M] */);)

}  // namespace dfast
