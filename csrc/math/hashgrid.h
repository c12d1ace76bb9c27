// One level of the multiresolution hash grid (Instant-NGP, arXiv 2201.05989): the cell of a point, the table rows of
// the cell's corners, and the corner weights with their first and second derivatives.
//
// With upper weights w_k along each axis k, corner c = (cx, cy, cz) in {0,1}^3 (bit 0 is x) has weight
//   w_c = prod_k (c_k ? w_k : 1 - w_k),
// a product of one-dimensional functions, so every derivative is a product with one factor replaced:
// (1-w_k, w_k) -> (-w_k', w_k') -> (-w_k'', w_k'').
#pragma once

#include <cmath>

#include "math/common.h"

namespace dfast {

struct HashLevel {
  double scale;             // the grid position of x is x * scale + 0.5; with the half, no vertex lies on x = 0
  std::int32_t resolution;  // vertices a side; x in [0, 1] uses all of them
  bool dense;               // rows in x-fastest order instead of hashed
  std::uint32_t mask;       // hashed: rows - 1, rows being a power of two
  std::int32_t depth;       // vertices along z: resolution, or 1 in two dimensions, where z is 0
  std::int64_t offset;      // first row in the table
};

// One axis of a cell: the lower vertex, the weight of the upper one, and that weight's derivatives with respect to x.
template <typename T>
struct HashAxis {
  std::int32_t low;  // 0..resolution - 1
  T w, d, dd;        // w(x), dw/dx, d2w/dx2
};

// Locates x on one axis. Outside [0, 1], or for NaN, the vertex stays in range and the weight extrapolates.
template <bool Smooth, typename T>
DFAST_HD HashAxis<T> hash_axis(T x, T scale, T top) {
  const T position = x * scale + T(0.5);
  const T above = position > T(0) ? position : T(0);  // false for NaN
  const T cell = std::floor(above < top ? above : top);
  const T f = position - cell;
  if (Smooth) {  // s = 3f^2 - 2f^3: C1, s' = 0 on faces
    return {static_cast<std::int32_t>(cell), f * f * (T(3) - T(2) * f), scale * T(6) * f * (T(1) - f),
            scale * scale * (T(6) - T(12) * f)};
  }
  return {static_cast<std::int32_t>(cell), f, scale, T(0)};
}

// Returns the upper vertex, clamped to the range: past the last vertex the encoding is constant.
DFAST_HD std::uint32_t hash_upper(std::int32_t low, std::int32_t resolution) {
  return static_cast<std::uint32_t>(low + 1 < resolution ? low + 1 : low);
}

// Returns the row of one vertex within its level.
template <bool Dense>
DFAST_HD std::uint32_t hash_row(std::uint32_t x, std::uint32_t y, std::uint32_t z, std::uint32_t resolution,
                                std::uint32_t mask) {
  if (Dense) return x + resolution * (y + resolution * z);
  return (x ^ y * 2654435761u ^ z * 805459861u) & mask;
}

// Computes the eight rows of a cell.
template <bool Dense>
DFAST_HD void hash_rows(std::int32_t x, std::int32_t y, std::int32_t z, const HashLevel& level, std::uint32_t row[8]) {
  const std::int32_t resolution = level.resolution;
  const std::uint32_t mask = level.mask;
  const std::uint32_t x0 = static_cast<std::uint32_t>(x), x1 = hash_upper(x, resolution);
  const std::uint32_t y0 = static_cast<std::uint32_t>(y), y1 = hash_upper(y, resolution);
  const std::uint32_t z0 = static_cast<std::uint32_t>(z), z1 = hash_upper(z, level.depth);
  const std::uint32_t r = static_cast<std::uint32_t>(resolution);
  row[0] = hash_row<Dense>(x0, y0, z0, r, mask), row[1] = hash_row<Dense>(x1, y0, z0, r, mask);
  row[2] = hash_row<Dense>(x0, y1, z0, r, mask), row[3] = hash_row<Dense>(x1, y1, z0, r, mask);
  row[4] = hash_row<Dense>(x0, y0, z1, r, mask), row[5] = hash_row<Dense>(x1, y0, z1, r, mask);
  row[6] = hash_row<Dense>(x0, y1, z1, r, mask), row[7] = hash_row<Dense>(x1, y1, z1, r, mask);
}

// Computes w_c for the eight corners.
template <typename T>
DFAST_HD void corner_weights(const T w[3], T out[8]) {
  const T x1 = w[0], x0 = T(1) - x1, y1 = w[1], y0 = T(1) - y1, z1 = w[2], z0 = T(1) - z1;
  const T p0 = x0 * y0, p1 = x1 * y0, p2 = x0 * y1, p3 = x1 * y1;
  out[0] = p0 * z0, out[1] = p1 * z0, out[2] = p2 * z0, out[3] = p3 * z0;
  out[4] = p0 * z1, out[5] = p1 * z1, out[6] = p2 * z1, out[7] = p3 * z1;
}

// Computes u . grad w_c for the eight corners, with d = dw/dx along each axis.
template <typename T>
DFAST_HD void corner_slopes(const T w[3], const T d[3], const T u[3], T out[8]) {
  const T x1 = w[0], x0 = T(1) - x1, y1 = w[1], y0 = T(1) - y1, z1 = w[2], z0 = T(1) - z1;
  const T dx = u[0] * d[0], dy = u[1] * d[1], dz = u[2] * d[2];
  const T p0 = x0 * y0 * dz, p1 = x1 * y0 * dz, p2 = x0 * y1 * dz, p3 = x1 * y1 * dz;                       // along z
  const T q0 = -dx * y0 - x0 * dy, q1 = dx * y0 - x1 * dy, q2 = x0 * dy - dx * y1, q3 = dx * y1 + x1 * dy;  // x, y
  out[0] = q0 * z0 - p0, out[1] = q1 * z0 - p1, out[2] = q2 * z0 - p2, out[3] = q3 * z0 - p3;
  out[4] = q0 * z1 + p0, out[5] = q1 * z1 + p1, out[6] = q2 * z1 + p2, out[7] = q3 * z1 + p3;
}

// Computes differences of s along one axis, interpolated along the others: slope[k] = sum_c s_c dw_c/dw_k.
template <typename T>
DFAST_HD void corner_differences(const T s[8], const T w[3], T slope[3]) {
  const T x1 = w[0], x0 = T(1) - x1, y1 = w[1], y0 = T(1) - y1, z1 = w[2], z0 = T(1) - z1;
  slope[0] = z0 * (y0 * (s[1] - s[0]) + y1 * (s[3] - s[2])) + z1 * (y0 * (s[5] - s[4]) + y1 * (s[7] - s[6]));
  slope[1] = z0 * (x0 * (s[2] - s[0]) + x1 * (s[3] - s[1])) + z1 * (x0 * (s[6] - s[4]) + x1 * (s[7] - s[5]));
  slope[2] = y0 * (x0 * (s[4] - s[0]) + x1 * (s[5] - s[1])) + y1 * (x0 * (s[6] - s[2]) + x1 * (s[7] - s[3]));
}

// Adds scale * grad_x sum_c w_c s_c.
template <typename T>
DFAST_HD void add_gradient(const T s[8], const T w[3], const T d[3], T scale, T out[3]) {
  T slope[3];
  corner_differences(s, w, slope);
  out[0] += scale * d[0] * slope[0];
  out[1] += scale * d[1] * slope[1];
  out[2] += scale * d[2] * slope[2];
}

// Adds scale * H u, where H is the Hessian of sum_c w_c s_c in x. Its diagonal is w_k'' slope_k (zero for linear
// weights), its other entries are w_k' w_m' times the mixed difference, interpolated along the third axis.
template <typename T>
DFAST_HD void add_hessian_product(const T s[8], const T w[3], const T d[3], const T dd[3], const T u[3], T scale,
                                  T out[3]) {
  T slope[3];
  corner_differences(s, w, slope);
  const T xy0 = s[3] - s[2] - s[1] + s[0], xy1 = s[7] - s[6] - s[5] + s[4];
  const T xz0 = s[5] - s[4] - s[1] + s[0], xz1 = s[7] - s[6] - s[3] + s[2];
  const T yz0 = s[6] - s[4] - s[2] + s[0], yz1 = s[7] - s[5] - s[3] + s[1];
  const T xy = d[0] * d[1] * (xy0 + w[2] * (xy1 - xy0));
  const T xz = d[0] * d[2] * (xz0 + w[1] * (xz1 - xz0));
  const T yz = d[1] * d[2] * (yz0 + w[0] * (yz1 - yz0));
  out[0] += scale * (dd[0] * slope[0] * u[0] + xy * u[1] + xz * u[2]);
  out[1] += scale * (xy * u[0] + dd[1] * slope[1] * u[1] + yz * u[2]);
  out[2] += scale * (xz * u[0] + yz * u[1] + dd[2] * slope[2] * u[2]);
}

}  // namespace dfast
