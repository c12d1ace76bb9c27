// Signed distances of the primitives of the procedural world, the same as dfast/world/distances.py.
//
// A primitive has two functions. prepare() turns its four sizes (a, b, c, extra) into the numbers that distance()
// needs, once for all points, and returns a Bound. distance() takes a point in the axes of the primitive. It is
// branch-free, so that a loop over points becomes vector code on a CPU. Source: Inigo Quilez, "Distance functions".
#pragma once
#include <cmath>

#include "math/common.h"

namespace dfast {

// ---- Arithmetic. On a GPU float takes the fast instructions, whose error is within 2 ulp.

template <class T>
DFAST_HD T lesser(T a, T b) {
#if defined(__CUDA_ARCH__)
  return fmin(a, b);
#else
  return a < b ? a : b;
#endif
}

template <class T>
DFAST_HD T greater(T a, T b) {
#if defined(__CUDA_ARCH__)
  return fmax(a, b);
#else
  return a > b ? a : b;
#endif
}

DFAST_HD double root(double v) { return std::sqrt(v); }
DFAST_HD double quotient(double a, double b) { return a / b; }

DFAST_HD float root(float v) {
#if defined(__CUDA_ARCH__)
  float r;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
#else
  return std::sqrt(v);
#endif
}

DFAST_HD float quotient(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdividef(a, b);
#else
  return a / b;
#endif
}

template <class T>
DFAST_HD T length(T x, T y) {
  return root(x * x + y * y);
}

template <class T>
DFAST_HD T length(T x, T y, T z) {
  return root(x * x + y * y + z * z);
}

// Returns the distance to a box in two dimensions from the distances to its sides.
template <class T>
DFAST_HD T corner(T u, T v) {
  return length(greater(u, T(0)), greater(v, T(0))) + lesser(greater(u, v), T(0));
}

template <class T>
DFAST_HD T largest(T a, T b, T c) {
  return greater(a, greater(b, c));
}

// ---- Primitives

constexpr int kSizes = 4;     // a, b, c, extra
constexpr int kPrepared = 8;  // most numbers that distance() needs

// Bounds distance() from below outside the sphere |p| = reach: it is at least slope (|p| - reach), slope <= 1. A part
// whose bound exceeds the distances of two others cannot change their union.
template <class T>
struct Bound {
  T reach;
  T slope;
};

struct Ellipsoid {  // first-order bound of the distance, exact for a sphere
  // distance() = k0 / k1 (k0 - 1), with k0 / k1 >= the smallest radius and k0 >= |p| / the largest.
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    for (int i = 0; i < 3; ++i) k[i] = T(1) / size[i];
    const T most = largest(size[0], size[1], size[2]), least = lesser(size[0], lesser(size[1], size[2]));
    return {most, least / most};
  }
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    const T u = x * k[0], v = y * k[1], w = z * k[2];
    const T k0 = length(u, v, w), k1 = length(u * k[0], v * k[1], w * k[2]);
    return quotient(k0 * (k0 - T(1)), greater(k1, T(1e-6)));
  }
};

struct Box {
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    for (int i = 0; i < 3; ++i) k[i] = size[i];
    return {length(size[0], size[1], size[2]), T(1)};
  }
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    const T u = std::abs(x) - k[0], v = std::abs(y) - k[1], w = std::abs(z) - k[2];
    return length(greater(u, T(0)), greater(v, T(0)), greater(w, T(0))) + lesser(largest(u, v, w), T(0));
  }
};

struct Cone {
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    const T a = size[0], b = size[1], c = size[2], slope_r = b - a, slope_z = T(2) * c;
    k[0] = a, k[1] = b, k[2] = c, k[3] = slope_r, k[4] = slope_z;
    k[5] = T(1) / (slope_r * slope_r + slope_z * slope_z);
    return {length(greater(a, b), c), T(1)};
  }
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    const T b = k[1], c = k[2], slope_r = k[3], slope_z = k[4], radial = length(x, y);
    const T cap_r = radial - lesser(radial, z < T(0) ? k[0] : b), cap_z = std::abs(z) - c;
    const T along = lesser(greater(((b - radial) * slope_r + (c - z) * slope_z) * k[5], T(0)), T(1));
    const T side_r = radial - b + slope_r * along, side_z = z - c + slope_z * along;
    const T d = root(lesser(cap_r * cap_r + cap_z * cap_z, side_r * side_r + side_z * side_z));
    return (side_r < T(0)) & (cap_z < T(0)) ? -d : d;
  }
};

struct Torus {
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    k[0] = size[0], k[1] = size[1];
    return {size[0] + size[1], T(1)};
  }
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    return length(length(x, y) - k[0], z) - k[1];
  }
};

struct Capsule {
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    k[0] = size[0], k[1] = size[1];
    return {size[0] + std::abs(size[1]), T(1)};
  }
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    return length(x, y, z - greater(lesser(z, k[1]), -k[1])) - k[0];
  }
};

struct Superquadric {
  // With N = |(x / a, y / b, z / c)|_n, distance() = (N - 1) / |grad N|, which approximates the distance near N = 1.
  // N >= |p| / (sqrt(3) the largest radius), and |grad N| <= sqrt(3) / the smallest.
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    for (int i = 0; i < 3; ++i) k[i] = T(1) / size[i];
    k[3] = greater(size[3], T(1));
    k[4] = T(1) / k[3];
    const T most = largest(size[0], size[1], size[2]), least = lesser(size[0], lesser(size[1], size[2]));
    return {T(1.7320508075688772) * most, least / (T(3) * most)};
  }
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    T q[3] = {std::abs(x * k[0]), std::abs(y * k[1]), std::abs(z * k[2])}, sum = T(0);
    const T most = greater(largest(q[0], q[1], q[2]), T(1e-4)), n = k[3], inverse = T(1) / most;
    T slope[3];  // (q / most)^(n - 1)
    for (int i = 0; i < 3; ++i) {
      q[i] *= inverse;
      slope[i] = power(q[i], n - T(1));
      sum += slope[i] * q[i];
    }
    // N = most * norm, and norm^(n - 1) = sum / norm.
    const T norm = power(sum, k[4]), shrink = quotient(norm, sum);
    const T gradient = length(slope[0] * k[0], slope[1] * k[1], slope[2] * k[2]) * shrink;
    return quotient(norm * most - T(1), gradient);
  }
  template <class T>
  DFAST_HD static T power(T base, T exponent) {
    return std::exp2(exponent * std::log2(greater(base, T(1e-30))));
  }
};

struct Wedge {
  // The greatest of the distances to planes is h (n.p / h - 1) for the h of some plane, and n.p / h >= |p| / reach for
  // the greatest, because the surface is within reach. This holds for pyramids too.
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    const T a = size[0], b = size[1], c = size[2], edge = size[3] * a;
    const T right = T(1) / length(T(2) * c, a - edge), left = T(1) / length(T(2) * c, a + edge);
    k[0] = edge, k[1] = T(2) * c * right, k[2] = (a - edge) * right;
    k[3] = T(2) * c * left, k[4] = (a + edge) * left, k[5] = b, k[6] = c;
    const T reach = length(greater(a, std::abs(edge)), b, c);
    const T nearest = lesser(edge * k[1] + c * k[2], c * k[4] - edge * k[3]);
    return {reach, greater(lesser(lesser(nearest, b), c), T(0)) / reach};
  }
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    const T beside = x - k[0], above = z - k[6];
    const T right = beside * k[1] + above * k[2], left = above * k[4] - beside * k[3];
    return greater(greater(greater(left, right), -k[6] - z), std::abs(y) - k[5]);
  }
};

struct Pyramid {
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    const T a = size[0], b = size[1], c = size[2], inverse = T(1) / length(T(2) * c, a - b);
    k[0] = (a + b) / T(2), k[1] = T(2) * c * inverse, k[2] = (a - b) * inverse, k[3] = c;
    const T widest = greater(a, b), reach = length(widest, widest, c);
    return {reach, lesser(k[0] * k[1], c) / reach};
  }
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    const T widest = greater(std::abs(x), std::abs(y));
    return greater((widest - k[0]) * k[1] + z * k[2], std::abs(z) - k[3]);
  }
};

struct Arc {
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    const T half = lesser(size[2], T(180)) * T(3.14159265358979323846 / 180);
    k[0] = size[0], k[1] = size[1], k[2] = std::cos(half), k[3] = greater(std::sin(half), T(0));
    k[4] = size[0] * k[2], k[5] = size[0] * k[3];
    return {size[0] + size[1], T(1)};
  }
  // The angle t of a point is at most h when sin(h - t) >= 0, because both are in [0, pi].
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    const T side = std::abs(y), along = length(x, y) - k[0], end_x = x - k[4], end_y = side - k[5];
    const T inside = along * along, outside = end_x * end_x + end_y * end_y;
    return root((side * k[2] <= x * k[3] ? inside : outside) + z * z) - k[1];
  }
};

struct Lathe {
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    const T a = size[0], b = size[1], c = size[2], top = size[3];
    const T linear = (top - a) / T(2), square = (top + a) / T(2) - b;
    const T steepest = (std::abs(linear) + T(2) * std::abs(square)) / c;
    k[0] = b, k[1] = linear, k[2] = square, k[3] = T(1) / c, k[4] = c;
    k[5] = T(1) / std::sqrt(T(1) + steepest * steepest);
    return {length(b + std::abs(linear) + std::abs(square), c), k[5]};
  }
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    const T t = lesser(greater(z * k[3], T(-1)), T(1)), profile = k[0] + (k[1] + k[2] * t) * t;
    return corner((length(x, y) - profile) * k[5], std::abs(z) - k[4]);
  }
};

struct Bowl {
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    for (int i = 0; i < 3; ++i) k[i] = size[i];
    return {size[0] + size[1], T(1)};
  }
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    return greater(std::abs(length(x, y, z) - k[0]) - k[1], z - k[2]);
  }
};

struct Tube {
  template <class T>
  DFAST_HD static Bound<T> prepare(const T* size, T* k) {
    for (int i = 0; i < 3; ++i) k[i] = size[i];
    return {length(size[0], size[2]), T(1)};
  }
  template <class T>
  DFAST_HD static T distance(const T* k, T x, T y, T z) {
    return corner(std::abs(length(x, y) - k[0] + k[1]) - k[1], std::abs(z) - k[2]);
  }
};

// In the order of KINDS, dfast/world/parts.py.
// clang-format off
#define DFAST_PRIMITIVES(X)                                            \
  X(0, Ellipsoid) X(1, Box) X(2, Cone) X(3, Torus) X(4, Capsule)       \
  X(5, Superquadric) X(6, Wedge) X(7, Pyramid) X(8, Arc) X(9, Lathe)   \
  X(10, Bowl) X(11, Tube)
// clang-format on

constexpr int kPrimitives = 12;

}  // namespace dfast
