// A part of a procedural scene, the union of parts, and the patterns on them: the same as dfast/world/scenes.py,
// joined() of dfast/world/distances.py and dfast/world/patterns.py.
#pragma once
#include <cmath>

#include "math/sdf.h"

namespace dfast {

// A part as evaluation needs it. A part with an unknown kind is left out of the union.
template <class T>
struct Part {
  int kind;  // index of a primitive, negative for a part that is left out
  T offset[3];
  T inverse_scale[3];
  T taper;
  T center[3];
  T rotation[9];  // from the axes of the thing to those of the part
  T size[3];
  T prepared[kPrepared];  // what the primitive's distance() needs
  T rounding;
  T blend;
  T slope;       // world distance in a unit of the part's
  T reach;       // of the primitive's Bound
  T per_second;  // see may_be_nearer()
  T margin;      // likewise

  // Fills in what depends on the primitive.
  DFAST_HD void prepare(T extra) {
    const T sizes[kSizes] = {size[0], size[1], size[2], extra};
    Bound<T> bound = {T(0), T(0)};
    switch (kind) {
#define DFAST_CASE(index, Primitive)             \
  case index:                                    \
    bound = Primitive::prepare(sizes, prepared); \
    break;
      DFAST_PRIMITIVES(DFAST_CASE)
#undef DFAST_CASE
      default:
        kind = -1;
    }
    reach = bound.reach;
    const T inverse = bound.slope > T(1e-6) ? T(1) / bound.slope : T(1e9);
    per_second = slope > T(0) ? inverse / slope : T(1e9);
    margin = rounding * inverse;
  }

  // Takes a world point into the axes of the thing, relative to the part's centre: into_thing() of scenes.py.
  DFAST_HD void enter(const T* x /* [3] */, T* q /* [3] */) const {
    T own[3];
    for (int i = 0; i < 3; ++i) own[i] = (x[i] - offset[i]) * inverse_scale[i];
    const T narrow = T(1) + taper * lesser(greater(own[2], T(-1.2)), T(1.2));
    const T widen = quotient(T(1), narrow);
    q[0] = own[0] * widen - center[0];
    q[1] = own[1] * widen - center[1];
    q[2] = own[2] - center[2];
  }

  // Takes q of enter() into the axes of the part.
  DFAST_HD void turn(const T* q /* [3] */, T* local /* [3] */) const {
    for (int i = 0; i < 3; ++i) {
      local[i] = rotation[3 * i] * q[0] + rotation[3 * i + 1] * q[1] + rotation[3 * i + 2] * q[2];
    }
  }

  // Returns false if the part is farther from q of enter() than `second`. The bound of the primitive says so where
  // bound.slope (|q| - reach) - rounding > second / slope.
  DFAST_HD bool may_be_nearer(const T* q /* [3] */, T second) const {
    const T within = reach + greater(second * per_second + margin, T(0));
    return !(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] > within * within);
  }

  // Returns the world distance of a point in the axes of the part.
  DFAST_HD T distance(const T* p /* [3] */) const {
    T d = T(0);
    switch (kind) {
#define DFAST_CASE(index, Primitive)                     \
  case index:                                            \
    d = Primitive::distance(prepared, p[0], p[1], p[2]); \
    break;
      DFAST_PRIMITIVES(DFAST_CASE)
#undef DFAST_CASE
    }
    return (d - rounding) * slope;
  }
};

constexpr double kFarthest = 1e9;  // distance to a union without parts

// The two nearest parts of those seen so far.
template <class T>
struct Nearest {
  T best = T(kFarthest);
  T second = T(kFarthest);
  T best_blend = T(0);
  T second_blend = T(0);
  int part = 0;  // the nearest

  DFAST_HD void add(T d, T blend, int index) {
    if (d < best) {
      second = best, second_blend = best_blend;
      best = d, best_blend = blend, part = index;
    } else if (d < second) {
      second = d, second_blend = blend;
    }
  }

  // Returns the distance to the union: the polynomial smooth minimum of the two nearest.
  DFAST_HD T joined() const {
    const T width = lesser(best_blend, second_blend), overlap = greater(width - (second - best), T(0));
    return best - quotient(overlap * overlap, T(4) * greater(width, T(1e-6)));
  }
};

// Adds every part to the union at x, but those that cannot change it.
template <class T>
DFAST_HD Nearest<T> nearest_part(const Part<T>* parts, int count, const T* x /* [3] */) {
  Nearest<T> nearest;
  for (int k = 0; k < count; ++k) {
    const Part<T>& part = parts[k];
    if (part.kind < 0) continue;
    T q[3], local[3];
    part.enter(x, q);
    if (!part.may_be_nearer(q, nearest.second)) continue;
    part.turn(q, local);
    nearest.add(part.distance(local), part.blend, k);
  }
  return nearest;
}

// ---- Patterns

template <class T>
DFAST_HD bool is_odd(T whole) {
  return whole - T(2) * std::floor(whole / T(2)) == T(1);
}

// Returns the distance from the nearest centre of a dot along an axis.
template <class T>
DFAST_HD T from_dot(T v) {
  const T step = T(0.27), cells = v / step + T(0.5);
  return (cells - std::floor(cells) - T(0.5)) * step;
}

// Returns where the patterns show their second colour: bit 0 for stripes, 1 for dots, 2 for checks.
template <class T>
DFAST_HD int pattern_bits(const T* p /* [3] */, const T* size /* [3] */) {
  const bool striped = is_odd(std::floor(p[2] / T(0.17) + T(0.5)));
  T cells = T(0), share[3];
  for (int i = 0; i < 3; ++i) {
    cells += std::floor(p[i] / T(0.21) + T(0.5));
    share[i] = std::abs(p[i]) / greater(size[i], T(0.01));
  }
  // Dots lie on the side of the part's box that the point is nearest to.
  const T first = from_dot(share[0] >= share[1] && share[0] >= share[2] ? p[1] : p[0]);
  const T other = from_dot(share[2] > share[0] && share[2] > share[1] ? p[1] : p[2]);
  const bool dotted = first * first + other * other < T(0.092) * T(0.092);
  return striped | dotted << 1 | is_odd(cells) << 2;
}

}  // namespace dfast
