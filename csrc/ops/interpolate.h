// Interpolation of vertices' attributes over the pixels of a raster.
#pragma once
#include <cstdint>

#include "ops/launcher.h"

namespace dfast {

template <class T>
struct InterpolateParams {
  const T* attributes;     // [A, C], or [B, A, C]
  const int32_t* faces;    // [F, 3] in [0, A)
  const int32_t* face;     // [B, P] the triangle that a pixel sees, -1 for none
  const T* barycentric;    // [B, P, 2]
  int64_t views;           // B
  int64_t pixels;          // P of a view
  int64_t rows_of_a_view;  // A, or 0 where the views share the attributes
  int channels;            // C
  T* out;                  // [B, P, C] 0 for none

  DFAST_FIELDS(attributes, faces, face, barycentric, views, pixels, rows_of_a_view, channels, out)
};

// Computes the rows of the attributes of pixel i's corners. Returns false, with rows of -1, if it sees no triangle.
template <class Params>
DFAST_HD bool corner_rows(const Params& p, int64_t i, int64_t* row /* [3] */) {
  const int32_t face = p.face[i];
  const int64_t first = p.rows_of_a_view ? i / p.pixels * p.rows_of_a_view : 0;
  for (int k = 0; k < 3; ++k) row[k] = face < 0 ? -1 : first + p.faces[3 * static_cast<int64_t>(face) + k];
  return face >= 0;
}

template <class T>
DFAST_HD void interpolate_pixel(const InterpolateParams<T>& p, int64_t i) {
  T* out = p.out + i * p.channels;
  int64_t row[3];
  if (!corner_rows(p, i, row)) {
    for (int c = 0; c < p.channels; ++c) out[c] = T(0);
    return;
  }
  const T b0 = p.barycentric[2 * i], b1 = p.barycentric[2 * i + 1], b2 = T(1) - b0 - b1;
  const T* a[3];
  for (int k = 0; k < 3; ++k) a[k] = p.attributes + row[k] * p.channels;
  for (int c = 0; c < p.channels; ++c) out[c] = b0 * a[0][c] + b1 * a[1][c] + b2 * a[2][c];
}

template <class T>
struct InterpolateBackwardParams {
  const T* attributes;
  const int32_t* faces;
  const int32_t* face;
  const T* barycentric;
  const T* d_out;  // [B, P, C]
  int64_t views, pixels, rows_of_a_view;
  int64_t rows;  // of the attributes, those of all views together
  int channels;
  T* d_attributes;   // zeros, to which is added; or null:
  T* terms;          // [B, P, 3, C] what each pixel adds to its corners
  T* d_barycentric;  // [B, P, 2]

  DFAST_FIELDS(attributes, faces, face, barycentric, d_out, views, pixels, rows_of_a_view, rows, channels, d_attributes,
               terms, d_barycentric)
};

// Computes the gradient of pixel i's barycentric coordinates: b2 = 1 - b0 - b1.
template <class T>
DFAST_HD void interpolate_pixel_backward(const InterpolateBackwardParams<T>& p, int64_t i) {
  T d0 = T(0), d1 = T(0);
  int64_t row[3];
  if (corner_rows(p, i, row)) {
    const T* d = p.d_out + i * p.channels;
    const T* a[3];
    for (int k = 0; k < 3; ++k) a[k] = p.attributes + row[k] * p.channels;
    for (int c = 0; c < p.channels; ++c) {
      d0 += d[c] * (a[0][c] - a[2][c]);
      d1 += d[c] * (a[1][c] - a[2][c]);
    }
  }
  p.d_barycentric[2 * i] = d0;
  p.d_barycentric[2 * i + 1] = d1;
}

#define DFAST_INTERPOLATE(X)                      \
  DFAST_FLOATS(X, interpolate, InterpolateParams) \
  DFAST_FLOATS(X, interpolate_backward, InterpolateBackwardParams)
DFAST_INTERPOLATE(DFAST_DECLARE)

}  // namespace dfast
