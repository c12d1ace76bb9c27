// Procedural scenes: the signed distance at points, and views by sphere tracing (Hart, "Sphere tracing", 1996).
// The formulas are in math/sdf.h and math/part.h.
#pragma once
#include <cmath>
#include <cstdint>

#include "math/part.h"
#include "ops/launcher.h"

namespace dfast {

constexpr int kMaxParts = 128;        // of a scene; so many fit into shared memory, and their indices into a byte
constexpr uint8_t kEmptyPixel = 255;  // part index of a ray that hits nothing
constexpr double kSettled = 1e-5;     // steps this short change neither the part nor the normal: a ray takes no more

// The parts of B scenes, K each; see PartTable, dfast/world/scenes.py.
template <class T>
struct SceneParts {
  const int64_t* kind;  // [B, K] negative for a part that is left out
  const T* center;      // [B, K, 3]
  const T* rotation;    // [B, K, 3, 3]
  const T* size;        // [B, K, 3]
  const T* rounding;    // [B, K]
  const T* extra;       // [B, K]
  const T* blend;       // [B, K]
  const T* offset;      // [B, K, 3]
  const T* scale;       // [B, K, 3]
  const T* taper;       // [B, K]
  int64_t scenes;       // B
  int parts;            // K, at most kMaxParts

  DFAST_FIELDS(kind, center, rotation, size, rounding, extra, blend, offset, scale, taper, scenes, parts)

  // Returns row i of the table's B K rows.
  DFAST_HD Part<T> part(int64_t i) const {
    Part<T> part = {};
    part.kind = kind[i] >= 0 && kind[i] < kPrimitives ? static_cast<int>(kind[i]) : -1;
    for (int c = 0; c < 3; ++c) {
      part.offset[c] = offset[3 * i + c];
      part.inverse_scale[c] = T(1) / scale[3 * i + c];
      part.center[c] = center[3 * i + c];
      part.size[c] = size[3 * i + c];
    }
    for (int c = 0; c < 9; ++c) part.rotation[c] = rotation[9 * i + c];
    part.taper = taper[i];
    part.rounding = rounding[i];
    part.blend = blend[i];
    const T* s = scale + 3 * i;
    part.slope = lesser(s[0], lesser(s[1], s[2])) * (T(1) - T(1.5) * std::abs(part.taper));
    part.prepare(extra[i]);
    return part;
  }
};

template <class T>
struct SceneDistanceParams {
  SceneParts<T> table;
  const T* x;      // [B, P, 3] world
  int64_t points;  // P
  T* distance;     // [B, P]
  int64_t* part;   // [B, P] the nearest

  DFAST_FIELDS(table, x, points, distance, part)
};

// Stores the result of point i of the B P points.
template <class T>
DFAST_HD void store_distance(const SceneDistanceParams<T>& p, const Nearest<T>& nearest, int64_t i) {
  const T* x = p.x + 3 * i;
  const T sum = x[0] + x[1] + x[2];  // minima and maxima would lose a NaN
  p.distance[i] = sum == sum ? nearest.joined() : sum;
  p.part[i] = nearest.part;
}

template <class T>
struct TraceViewsParams {
  SceneParts<T> table;
  const T* origins;     // [B, R, 3] outside the unit sphere
  const T* directions;  // [B, R, 3] unit
  int64_t rays;         // R
  int steps;            // most steps along a ray
  T tolerance;          // half the largest distance to the surface at which a ray hits
  uint8_t* part;        // [B, R] kEmptyPixel for none
  int8_t* normal;       // [B, R, 3] outward, times 127
  uint8_t* pattern;     // [B, R] bits of pattern_bits()

  DFAST_FIELDS(table, origins, directions, rays, steps, tolerance, part, normal, pattern)
};

// Follows ray r of the B R rays into the unit sphere. Returns whether it hits, with the point.
template <class T>
DFAST_HD bool follow(const TraceViewsParams<T>& p, const Part<T>* parts, int64_t r, T* x /* [3] */, int* part) {
  const T* o = p.origins + 3 * r;
  const T* d = p.directions + 3 * r;
  const T middle = -(o[0] * d[0] + o[1] * d[1] + o[2] * d[2]);
  const T closest2 = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - middle * middle;
  if (!(closest2 < T(1))) return false;
  const T half = std::sqrt(T(1) - closest2), far = middle + half;
  T t = middle - half;
  for (int step = 0;; ++step) {
    for (int c = 0; c < 3; ++c) x[c] = o[c] + t * d[c];
    const Nearest<T> nearest = nearest_part(parts, p.table.parts, x);
    const T distance = nearest.joined();
    *part = nearest.part;
    if (step == p.steps || std::abs(distance) < T(kSettled)) return distance < T(2) * p.tolerance;
    t += distance;
    if (!(t < far)) return false;
  }
}

// Returns the outward normal by differences at the corners of a tetrahedron.
template <class T>
DFAST_HD void scene_normal(const Part<T>* parts, int count, const T* x /* [3] */, T* n /* [3] */) {
  const T h = T(2e-3);
  n[0] = n[1] = n[2] = T(0);
  for (int corner = 0; corner < 4; ++corner) {
    const T u = corner & 1 ? T(-1) : T(1), v = corner & 2 ? T(-1) : T(1), sign[3] = {u, v, u * v};
    const T y[3] = {x[0] + h * sign[0], x[1] + h * sign[1], x[2] + h * sign[2]};
    const T distance = nearest_part(parts, count, y).joined();
    for (int c = 0; c < 3; ++c) n[c] += sign[c] * distance;
  }
  const T inverse = T(1) / greater(length(n[0], n[1], n[2]), T(1e-12));
  for (int c = 0; c < 3; ++c) n[c] *= inverse;
}

// Traces ray r of the B R rays, through a scene of these parts.
template <class T>
DFAST_HD void trace_ray(const TraceViewsParams<T>& p, const Part<T>* parts, int64_t r) {
  T x[3], normal[3] = {T(0), T(0), T(0)};
  int part = 0, bits = 0;
  const bool hit = follow(p, parts, r, x, &part);
  if (hit) {
    T q[3], local[3];
    scene_normal(parts, p.table.parts, x, normal);
    parts[part].enter(x, q);
    parts[part].turn(q, local);
    bits = pattern_bits(local, parts[part].size);
  }
  p.part[r] = hit ? static_cast<uint8_t>(part) : kEmptyPixel;
  p.pattern[r] = static_cast<uint8_t>(bits);
  for (int c = 0; c < 3; ++c) p.normal[3 * r + c] = static_cast<int8_t>(std::rint(normal[c] * T(127)));
}

#define DFAST_WORLD(X)                                 \
  DFAST_FLOATS(X, scene_distance, SceneDistanceParams) \
  DFAST_FLOATS(X, trace_views, TraceViewsParams)
DFAST_WORLD(DFAST_DECLARE)

}  // namespace dfast
