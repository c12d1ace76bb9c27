// A triangle in clip space seen from a pixel, by edge functions of homogeneous coordinates (Olano and Greer,
// "Triangle scan conversion using 2D homogeneous coordinates", 1997), which need no clipping.
//
// With q_k = (x_k - X w_k, y_k - Y w_k) for the pixel's centre (X, Y), and e_k = q_{k+1} x q_{k+2}, the centre is in
// the triangle if all e_k have one sign, and in front of the camera if D = sum e_k w_k has the same. Then e_k / sum e
// are the barycentric coordinates of the point seen there, and z / w = sum e_k z_k / D.
//
// Multiplications and additions are fused where std::fma says so and nowhere else, so that every compiler and device
// computes the same bits. The two triangles at an edge see opposite numbers, and so no pixel falls between them.
#pragma once
#include <cmath>
#include <cstdint>

#include "math/common.h"

namespace dfast {

// Returns a x b. It is the mean of two roundings, of which either is the other's opposite when a and b change places.
template <class T>
DFAST_HD T cross2(T ax, T ay, T bx, T by) {
  return T(0.5) * (std::fma(ax, by, -(ay * bx)) + std::fma(-bx, ay, ax * by));
}

template <class T>
struct Triangle {
  T x[3], y[3], z[3], w[3];

  DFAST_HD void load(const T* clip /* [V, 4] */, const int32_t* corners /* [3] */) {
    for (int k = 0; k < 3; ++k) {
      const T* p = clip + 4 * static_cast<int64_t>(corners[k]);
      x[k] = p[0], y[k] = p[1], z[k] = p[2], w[k] = p[3];
    }
  }

  // Computes q of corner k.
  DFAST_HD void relative(int k, T px, T py, T* qx, T* qy) const {
    *qx = std::fma(-px, w[k], x[k]);
    *qy = std::fma(-py, w[k], y[k]);
  }

  DFAST_HD T edge(int k, const T* qx /* [3] */, const T* qy /* [3] */) const {
    const int a = (k + 1) % 3, b = (k + 2) % 3;
    return cross2(qx[a], qy[a], qx[b], qy[b]);
  }

  DFAST_HD void edges(T px, T py, T* e /* [3] */) const {
    T qx[3], qy[3];
    for (int k = 0; k < 3; ++k) relative(k, px, py, qx + k, qy + k);
    for (int k = 0; k < 3; ++k) e[k] = edge(k, qx, qy);
  }

  DFAST_HD T weighted(const T* e, const T* v) const { return std::fma(e[0], v[0], std::fma(e[1], v[1], e[2] * v[2])); }

  // Returns whether the pixel sees the triangle within the depth range, and z / w there. It has no branches: the
  // answers are hard to predict, and the host computes several pixels at a time.
  DFAST_HD bool covers(T px, T py, T* depth) const {
    T e[3];
    edges(px, py, e);
    const T d = weighted(e, w), at = weighted(e, z) / d;
    *depth = at;
    const bool left = (e[0] >= T(0)) & (e[1] >= T(0)) & (e[2] >= T(0)) & (d > T(0));
    const bool right = (e[0] <= T(0)) & (e[1] <= T(0)) & (e[2] <= T(0)) & (d < T(0));
    return (left | right) & (at >= T(-1)) & (at <= T(1));
  }

  // Computes the barycentric coordinates of corners 0 and 1, and z / w, where the pixel sees the triangle.
  DFAST_HD void locate(T px, T py, T* barycentric /* [2] */, T* depth) const {
    T e[3];
    edges(px, py, e);
    const T inverse = T(1) / (e[0] + e[1] + e[2]);
    barycentric[0] = e[0] * inverse;
    barycentric[1] = e[1] * inverse;
    *depth = weighted(e, z) / weighted(e, w);
  }

  // Adds to the gradients (x, y, z, w) of the corners what a gradient of e_k brings, given all q.
  DFAST_HD void edge_vjp(int k, T px, T py, const T* qx, const T* qy, T d_e, T* d_corner /* [3, 4] */) const {
    const int a = (k + 1) % 3, b = (k + 2) % 3;
    add_relative_vjp(px, py, d_e * qy[b], -d_e * qx[b], d_corner + 4 * a);
    add_relative_vjp(px, py, -d_e * qy[a], d_e * qx[a], d_corner + 4 * b);
  }

  // Computes the gradients of the corners from those of locate().
  DFAST_HD void locate_vjp(T px, T py, const T* d_barycentric /* [2] */, T d_depth, T* d_corner /* [3, 4] */) const {
    T qx[3], qy[3], e[3], d_e[3];
    for (int k = 0; k < 3; ++k) relative(k, px, py, qx + k, qy + k);
    for (int k = 0; k < 3; ++k) e[k] = edge(k, qx, qy);
    const T inverse = T(1) / (e[0] + e[1] + e[2]), inverse_d = T(1) / weighted(e, w);
    const T depth = weighted(e, z) * inverse_d, d_z = d_depth * inverse_d;
    const T mean = (e[0] * d_barycentric[0] + e[1] * d_barycentric[1]) * inverse;
    for (int k = 0; k < 3; ++k) {
      const T own = k < 2 ? d_barycentric[k < 2 ? k : 0] : T(0);
      d_e[k] = (own - mean) * inverse + d_z * (z[k] - depth * w[k]);
    }
    for (int k = 0; k < 3; ++k) {  // q_k is in the edges of the other two corners
      const int a = (k + 1) % 3, b = (k + 2) % 3;
      T* d = d_corner + 4 * k;
      d[0] = d[1] = T(0);
      d[2] = d_z * e[k];
      d[3] = -depth * d[2];
      add_relative_vjp(px, py, d_e[b] * qy[a] - d_e[a] * qy[b], d_e[a] * qx[b] - d_e[b] * qx[a], d);
    }
  }

  // Adds to the gradient of a corner that of its q.
  static DFAST_HD void add_relative_vjp(T px, T py, T d_qx, T d_qy, T* d /* [4] */) {
    d[0] += d_qx;
    d[1] += d_qy;
    d[3] -= px * d_qx + py * d_qy;
  }

  // Returns whether the corners turn counterclockwise on the screen. Corners behind the camera count as they project.
  DFAST_HD bool counterclockwise() const {
    const T ax = std::fma(x[1], w[0], -(x[0] * w[1])), ay = std::fma(y[1], w[0], -(y[0] * w[1]));
    const T bx = std::fma(x[2], w[0], -(x[0] * w[2])), by = std::fma(y[2], w[0], -(y[0] * w[2]));
    return (cross2(ax, ay, bx, by) >= T(0)) == (w[0] >= T(0));
  }
};

}  // namespace dfast
