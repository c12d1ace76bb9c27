// Pixels of square images, row 0 at the top, and the points of clip space that they see.
#pragma once
#include <cmath>
#include <cstdint>

#include "math/common.h"

namespace dfast {

// Returns the clip coordinate of a pixel's centre, along x from the left or along -y from the top.
template <class T>
DFAST_HD T pixel_center(int index, T inverse_resolution) {
  return std::fma(T(2 * index + 1), inverse_resolution, T(-1));
}

// A pixel of B views of N x N pixels.
struct PixelPlace {
  int64_t index, view;
  int x, y, resolution;

  // Pixel x of a row of the B N rows.
  DFAST_HD PixelPlace(int64_t row, int column, int n)
      : index(row * n + column), view(row / n), x(column), y(static_cast<int>(row - view * n)), resolution(n) {}

  // Pixel i of the B N N pixels.
  static DFAST_HD PixelPlace of(int64_t i, int n) { return {i / n, static_cast<int>(i - i / n * n), n}; }

  template <class T>
  DFAST_HD void center(T* at /* [2] */) const {
    const T inverse = T(1) / T(resolution);
    at[0] = pixel_center(x, inverse);
    at[1] = -pixel_center(y, inverse);
  }

  // Pairs of pixels: with the one on the right (axis 0) or below (axis 1).
  DFAST_HD bool has_next(int axis) const { return (axis ? y : x) + 1 < resolution; }
  DFAST_HD bool has_previous(int axis) const { return (axis ? y : x) > 0; }
  DFAST_HD int64_t stride(int axis) const { return axis ? resolution : 1; }
  DFAST_HD PixelPlace next(int axis) const {
    PixelPlace place = *this;
    place.index += stride(axis);
    place.x += axis == 0;
    place.y += axis == 1;
    return place;
  }
};

// Pixels [x0, x1) x [y0, y1).
struct PixelBox {
  int x0, x1, y0, y1;

  DFAST_HD bool empty() const { return x0 >= x1 || y0 >= y1; }
};

// Computes the pixels [low, high) whose centres are in [a, b], in pixels from the first centre; all for a NaN.
template <class T>
DFAST_HD void pixel_range(T a, T b, int resolution, int* low, int* high) {
  const T end = T(resolution);
  *low = a > T(0) ? static_cast<int>(std::ceil(a < end ? a : end)) : 0;
  *high = b < end - T(1) ? (b >= T(0) ? static_cast<int>(b) + 1 : 0) : resolution;
}

// Computes where a point of clip space is on the screen, in pixels from the centre of the first.
template <class T>
DFAST_HD void to_screen(const T* p /* [4] */, int resolution, T* s /* [2] */) {
  const T half = T(0.5) * T(resolution), inverse = T(1) / p[3];
  s[0] = (T(1) + p[0] * inverse) * half - T(0.5);
  s[1] = (T(1) - p[1] * inverse) * half - T(0.5);
}

// Returns the pixels within `margin` of n points of the screen, all of them in front of the camera.
template <class T>
DFAST_HD PixelBox box_around(const T* const* s /* [n][2] */, int n, T margin, int resolution) {
  T low[2] = {s[0][0], s[0][1]}, high[2] = {s[0][0], s[0][1]};
  for (int k = 1; k < n; ++k) {
    for (int c = 0; c < 2; ++c) {  // written so that a NaN stays
      low[c] = low[c] <= s[k][c] ? low[c] : s[k][c];
      high[c] = high[c] >= s[k][c] ? high[c] : s[k][c];
    }
  }
  PixelBox box;
  pixel_range(low[0] - margin, high[0] + margin, resolution, &box.x0, &box.x1);
  pixel_range(low[1] - margin, high[1] + margin, resolution, &box.y0, &box.y1);
  return box;
}

}  // namespace dfast
