// How much the normals of neighbouring pixels differ, see `normal_variation` in dfast/ops/normal_variation.py.
//
// A pair of neighbours p, q costs w d^2 / (d^2 + c^2) with d = n_p - n_q and w = min(o_p, o_q), or 0 where the depths
// differ by `step` or more; its slope by n_p is 2 w c^2 d / (d^2 + c^2)^2. Each pair counts 1 / (number of pairs along
// its axis).
#pragma once
#include <cmath>
#include <cstdint>

#include "ops/launcher.h"

namespace dfast {

template <class T>
struct NormalVariationParams {
  const T* normal;   // [B, H, W, 3] sums of w n
  const T* opacity;  // [B, H, W]
  const T* depth;    // [B, H, W] sums of w t
  int64_t views;     // B
  int64_t height;    // H, at least 2
  int64_t width;     // W, at least 2
  T edge;            // c
  T step;
  T* cost;      // [B H] for each row: the pairs to the right of its pixels and below them
  T* gradient;  // [B, H, W, 3] of the sum of all costs by the normals

  DFAST_FIELDS(normal, opacity, depth, views, height, width, edge, step, cost, gradient)
};

template <class T>
DFAST_HD T surface_distance(const NormalVariationParams<T>& p, int64_t pixel) {
  return p.depth[pixel] / (p.opacity[pixel] > T(1e-3) ? p.opacity[pixel] : T(1e-3));
}

// Returns the smaller number, NaN if one is.
template <class T>
DFAST_HD T least(T a, T b) {
  return a < b || a != a ? a : b;
}

// Writes the gradient of one pixel and returns the cost of its pairs to the right and below.
template <class T>
DFAST_HD T variation_at(const NormalVariationParams<T>& p, int64_t pixel) {
  const int64_t column = pixel % p.width, row = pixel / p.width % p.height;
  const T along_row = T(1) / (T(p.views * p.height) * T(p.width - 1));
  const T along_column = T(1) / (T(p.views * p.width) * T(p.height - 1));
  const T opacity = p.opacity[pixel], distance = surface_distance(p, pixel), c2 = p.edge * p.edge;
  const T* n = p.normal + 3 * pixel;
  T cost = 0, gradient[3] = {};
  const auto pair = [&](bool inside, int64_t other, T weight, bool counts) {
    if (!inside) return;
    const T apart = distance - surface_distance(p, other), same = (apart < 0 ? -apart : apart) < p.step ? T(1) : T(0);
    const T* m = p.normal + 3 * other;
    const T d[3] = {n[0] - m[0], n[1] - m[1], n[2] - m[2]}, d2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    const T both = weight * same * least(opacity, p.opacity[other]), inverse = T(1) / (d2 + c2);
    if (counts) cost += both * d2 * inverse;
    const T slope = T(2) * both * c2 * inverse * inverse;
    for (int k = 0; k < 3; ++k) gradient[k] += slope * d[k];
  };
  pair(row > 0, pixel - p.width, along_column, false);
  pair(column > 0, pixel - 1, along_row, false);
  pair(column + 1 < p.width, pixel + 1, along_row, true);
  pair(row + 1 < p.height, pixel + p.width, along_column, true);
  for (int k = 0; k < 3; ++k) p.gradient[3 * pixel + k] = gradient[k];
  return cost;
}

#define DFAST_NORMAL_VARIATION(X) DFAST_FLOATS(X, normal_variation, NormalVariationParams)
DFAST_NORMAL_VARIATION(DFAST_DECLARE)

}  // namespace dfast
