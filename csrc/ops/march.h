// Occupancy-guided ray marching: which intervals of a ray hold a sample.
//
// A ray is cut to the scene's sphere, [near, far], and divided into intervals from near on. An interval that starts at
// distance a is dt = max(step_size, a * cone_angle) long; the last one is cut at far. The sample of interval [a, a +
// dt) lies at t = a + jitter * dt and is kept when its cell's bit is set. A DDA steps from block to block (a brick that
// is all empty or all occupied, else a cell) and treats all samples in a block alike. The result therefore equals
// testing every interval, and the dt of a ray add up to its chord where all cells are occupied.
#pragma once
#include <cstdint>

#include "math/ray.h"
#include "ops/launcher.h"

namespace dfast {

template <class T>
struct MarchParams {
  const T* origins;                    // [R, 3]
  const T* directions;                 // [R, 3] unit
  const T* jitter;                     // [R] in [0, 1), or null: 0.5, the middle
  const uint64_t* occupancy_bitfield;  // [(resolution / 4)^3] bricks
  int64_t rays;                        // R
  int resolution;                      // cells a side, a multiple of 4
  T radius;                            // radius of the sphere; the grid spans [-radius, radius]^3
  T step_size;                         // shortest interval
  T cone_angle;                        // interval length per distance, 0: constant steps

  DFAST_FIELDS(origins, directions, jitter, occupancy_bitfield, rays, resolution, radius, step_size, cone_angle)
};

// The block that a ray's sample at t falls into: a brick that is all empty or all occupied, else a cell.
template <class T>
struct MarchBlock {
  bool kept;  // whether its cells are occupied
  T leave;    // every sample of the ray from t to here is in the block
};

// A ray in units of cells, and the bitfield that it reads.
template <class T>
struct MarchRay {
  T near, far;   // the part inside the sphere, world units
  T jitter;      // position of the samples in their intervals
  T o[3], d[3];  // origin and direction in cells, from the grid's corner
  T inverse[3];  // 1 / d, infinite (and unused) where the ray is parallel to an axis
  T margin;      // > 30 ulp of a float coordinate in cells
  const uint64_t* occupancy_bitfield;
  int resolution;

  // Returns false when the ray misses the sphere.
  DFAST_HD bool start(const MarchParams<T>& p, int64_t r) {
    const T* origin = p.origins + 3 * r;
    const T* direction = p.directions + 3 * r;
    if (!ray_sphere(origin, direction, p.radius, &near, &far)) return false;
    const T cells = T(p.resolution) / (T(2) * p.radius);
    for (int c = 0; c < 3; ++c) {
      o[c] = (origin[c] + p.radius) * cells;
      d[c] = direction[c] * cells;
      inverse[c] = T(1) / d[c];
    }
    jitter = p.jitter ? p.jitter[r] : T(0.5);
    margin = T(p.resolution) * T(1.0 / 262144);
    occupancy_bitfield = p.occupancy_bitfield;
    resolution = p.resolution;
    return true;
  }

  DFAST_HD MarchBlock<T> block(T t) const {
    const int x = clamp_cell(static_cast<int>(o[0] + t * d[0]), resolution);
    const int y = clamp_cell(static_cast<int>(o[1] + t * d[1]), resolution);
    const int z = clamp_cell(static_cast<int>(o[2] + t * d[2]), resolution);
    const uint64_t brick = occupancy_bitfield[brick_index(x, y, z, resolution >> 2)];
    const int size = brick == 0 || ~brick == 0 ? 4 : 1;
    const T ex = exit_distance(o[0], d[0], inverse[0], x, size, margin);
    const T ey = exit_distance(o[1], d[1], inverse[1], y, size, margin);
    const T ez = exit_distance(o[2], d[2], inverse[2], z, size, margin);
    T leave = ex < ey ? ex : ey;
    leave = ez < leave ? ez : leave;
    return {((brick >> brick_bit(x, y, z)) & 1u) != 0, leave < far ? leave : far};
  }

  // Returns the length of the interval that starts at a, cut at far, and below the distance of its sample.
  DFAST_HD T cut(T a, T length) const { return length < far - a ? length : far - a; }
  DFAST_HD T sample(T a, T dt) const { return a + jitter * dt; }
  // Computes both for interval k of constant steps.
  DFAST_HD void interval(int k, T step_size, T* t, T* dt) const {
    const T a = near + T(k) * step_size;
    *dt = cut(a, step_size);
    *t = sample(a, *dt);
  }
  // Returns the number of intervals of constant steps. Each loop corrects rounding in at most two iterations.
  DFAST_HD int intervals(T step_size) const {
    int n = static_cast<int>((far - near) * (T(1) / step_size));
    while (near + T(n) * step_size < far) ++n;
    while (n > 0 && !(near + T(n - 1) * step_size < far)) --n;
    return n;
  }
};

// Walks intervals first .. last of constant steps: interval k starts at near + k * step_size, whatever was skipped
// before it, so the result of an interval does not depend on where the walk began. There are at most 2e5 intervals in
// the sphere, because Python checks the step size.
template <class T, class Emit>
DFAST_HD void march_constant(const MarchRay<T>& ray, T step_size, int first, int last, Emit& emit) {
  const T inverse_step = T(1) / step_size;
  int k = first;
  while (k < last) {
    const T a = ray.near + T(k) * step_size;
    const MarchBlock<T> block = ray.block(ray.sample(a, ray.cut(a, step_size)));
    const T beyond = (block.leave - ray.near) * inverse_step - ray.jitter;  // in intervals
    int next = beyond > T(0) ? static_cast<int>(beyond) + 1 : 0;            // first with a sample beyond
    next = next < last ? next : last;
    next = next > k + 1 ? next : k + 1;
    if (block.kept && !emit.run(ray, step_size, k, next)) return;
    k = next;
  }
}

// Walks steps that grow with distance. Their starts follow a recurrence, which is evaluated in empty blocks too.
template <class T, class Emit>
DFAST_HD void march_growing(const MarchRay<T>& ray, T step_size, T cone_angle, Emit& emit) {
  const T constant_until = step_size / cone_angle;
  T a = ray.near;
  while (a < ray.far) {
    const MarchBlock<T> block = ray.block(ray.sample(a, ray.cut(a, a > constant_until ? a * cone_angle : step_size)));
    T length;
    do {
      length = a > constant_until ? a * cone_angle : step_size;
      const T dt = ray.cut(a, length);
      if (block.kept && !emit.one(ray.sample(a, dt), dt)) return;
      a = a + length > a ? a + length : ray.far;  // far away a short step can be less than the rounding of a
      length = a > constant_until ? a * cone_angle : step_size;
    } while (a < ray.far && ray.sample(a, length) <= block.leave);
  }
}

// Passes the kept samples of ray r to `emit`, in order along the ray; emit returns false to stop. `first` is the
// interval to begin with if steps are constant. Returns whether the ray meets the sphere.
template <class T, class Emit>
DFAST_HD bool march_ray(const MarchParams<T>& p, int64_t r, int first, Emit& emit) {
  MarchRay<T> ray;
  if (!ray.start(p, r)) return false;
  if (p.cone_angle > T(0)) {
    march_growing(ray, p.step_size, p.cone_angle, emit);
  } else {
    march_constant(ray, p.step_size, first, ray.intervals(p.step_size), emit);
  }
  return true;
}

// A run of neighbouring intervals begin .. end of a ray with constant steps that are all kept. The first pass stores a
// ray's first few runs for the second pass, which then need not read the bitfield again.
struct MarchRun {
  int32_t begin, end;
};

struct MarchRuns {
  MarchRun* run;  // [max_runs, R]; a ray with fewer runs leaves the rest empty (CUDA) or uninitialised
  int max_runs;   // largest number of runs stored per ray, 0 with growing steps
  int64_t rays;   // R
};

// The `emit` of the first pass: counts samples and stores runs.
template <class T>
struct MarchCount {
  MarchRuns runs;
  int64_t id;  // the ray
  int32_t count = 0;
  int found = 0;  // number of runs, stored or not
  MarchRun open = {0, 0};
  DFAST_HD bool one(T, T) {
    ++count;
    return true;
  }
  DFAST_HD bool run(const MarchRay<T>&, T, int begin, int end) {
    count += end - begin;
    if (begin != open.end) {
      close();
      open.begin = begin;
    }
    open.end = end;
    return true;
  }
  DFAST_HD void close() {
    if (open.end == open.begin) return;
    if (found < runs.max_runs) runs.run[found * runs.rays + id] = open;
    ++found;
  }
};

template <class T>
struct MarchOutput {
  T* t;          // [M]
  T* dt;         // [M]
  int32_t* ray;  // [M]
  T* x;          // [M, 3] origin + t direction

  DFAST_FIELDS(t, dt, ray, x)
};

// The `emit` of the second pass: writes samples, and stops at the end of the ray's slots.
template <class T>
struct MarchWrite {
  MarchOutput<T> out;
  const T* origin;     // [3]
  const T* direction;  // [3]
  int32_t id;          // the ray
  int64_t slot;        // next slot
  int64_t end;         // offsets[id + 1]
  DFAST_HD bool one(T t_i, T dt_i) {
    out.t[slot] = t_i;
    out.dt[slot] = dt_i;
    out.ray[slot] = id;
    for (int c = 0; c < 3; ++c) out.x[3 * slot + c] = origin[c] + t_i * direction[c];
    return ++slot < end;
  }
  DFAST_HD bool run(const MarchRay<T>& r, T step_size, int k, int stop) {
    stop = stop - k < end - slot ? stop : k + static_cast<int>(end - slot);
    for (; k < stop; ++k) {
      T t_i, dt_i;
      r.interval(k, step_size, &t_i, &dt_i);
      one(t_i, dt_i);
    }
    return slot < end;
  }
  // Both passes run the same body, but compilers may round it differently each time. If a marginal sample of the first
  // pass is missing in the second, its slot gets an empty interval.
  DFAST_HD void finish() {
    while (slot < end) one(T(0), T(0));
  }
};

// The first pass: how many samples each ray keeps, and where.
template <class T>
struct MarchCountParams {
  MarchParams<T> march;
  int max_runs;     // runs stored per ray, at most kMarchMaxRuns
  int lanes;        // CUDA threads that share a ray with constant steps: 1, 2, 4 .. 32; unused on the CPU
  int32_t* counts;  // [R] samples that each ray keeps
  MarchRun* runs;   // [max_runs, R]
  int32_t* sums;    // [march_sums(R)] scratch that the second pass reads

  DFAST_FIELDS(march, max_runs, lanes, counts, runs, sums)
};

// The second pass: gives ray after ray its slots, as many as fit into `max_samples`, and writes the samples. Slots from
// num_samples on are left as they are.
template <class T>
struct MarchWriteParams {
  MarchParams<T> march;
  int max_runs;           // as in the first pass
  int lanes;              // as in the first pass
  const int32_t* counts;  // [R] from the first pass
  const MarchRun* runs;   // [max_runs, R] from the first pass
  const int32_t* sums;    // from the first pass
  int64_t max_samples;    // M
  int32_t* offsets;       // [R + 1]
  MarchOutput<T> out;     // [M]
  int64_t* num_samples;   // [1] samples that all rays keep, which may be more than M
  bool* overflow;         // [1] num_samples > M
  int64_t* num_rays_hit;  // [1] rays that meet the sphere

  DFAST_FIELDS(march, max_runs, lanes, counts, runs, sums, max_samples, offsets, out, num_samples, overflow,
               num_rays_hit)
};

constexpr int kMarchMaxRuns = 8;       // runs that the first pass stores per ray at most
constexpr int kMarchMinBlockRays = 8;  // every block of the first pass counts at least as many rays and writes two sums

// Numbers in `sums` for `rays` rays.
constexpr int64_t march_sums(int64_t rays) { return 2 * ((rays + kMarchMinBlockRays - 1) / kMarchMinBlockRays); }

#define DFAST_MARCH(X)                           \
  DFAST_FLOATS(X, march_count, MarchCountParams) \
  DFAST_FLOATS(X, march_write, MarchWriteParams)
DFAST_MARCH(DFAST_DECLARE)

}  // namespace dfast
