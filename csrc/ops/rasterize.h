// Rasterisation of triangles in clip space: the nearest triangle of each pixel and where in it the pixel is. The
// formulas are in math/triangle.h.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "math/screen.h"
#include "math/triangle.h"
#include "ops/launcher.h"

namespace dfast {

constexpr double kBoxMargin = 1.0 / 32;  // pixels by which rounding may move a point of the screen, and more
constexpr uint64_t kNoKey = ~uint64_t{0};

template <class T>
struct RasterizeParams {
  const T* clip;         // [B, V, 4]
  const int32_t* faces;  // [F, 3] in [0, V)
  int64_t views;         // B
  int64_t vertices;      // V
  int64_t triangles;     // F
  int resolution;        // N pixels a side
  uint64_t* keys;        // [B, N, N] workspace
  int32_t* face;         // [B, N, N] row 0 at the top; -1 for none
  T* barycentric;        // [B, N, N, 2] of corners 0 and 1; 0 for none
  T* depth;              // [B, N, N] z / w in [-1, 1]; 1 for none

  DFAST_FIELDS(clip, faces, views, vertices, triangles, resolution, keys, face, barycentric, depth)

  DFAST_HD const T* view(int64_t v) const { return clip + 4 * vertices * v; }
};

// Returns a number that is least for the nearest triangle, and for the first of equally near ones. Depths are compared
// as float.
DFAST_HD uint64_t depth_key(float depth, int32_t face) {
  uint32_t bits;
  memcpy(&bits, &depth, sizeof bits);
  bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(face);
}

// Returns the pixels that a triangle may cover, given its corners on the screen.
template <class T>
DFAST_HD PixelBox triangle_box(const T* const* screen /* [3][2] */, T w0, T w1, T w2, int resolution) {
  if (w0 > T(0) && w1 > T(0) && w2 > T(0)) return box_around(screen, 3, T(kBoxMargin), resolution);
  if (w0 <= T(0) && w1 <= T(0) && w2 <= T(0)) return {0, 0, 0, 0};
  return {0, resolution, 0, resolution};
}

// Computes what a pixel sees, from its key.
template <class T>
DFAST_HD void resolve_pixel(const RasterizeParams<T>& p, const PixelPlace& place) {
  const int64_t i = place.index;
  const uint64_t key = p.keys[i];
  const bool hit = key != kNoKey;
  const int32_t face = hit ? static_cast<int32_t>(static_cast<uint32_t>(key)) : -1;
  T barycentric[2] = {T(0), T(0)}, depth = T(1);
  if (hit) {
    T at[2];
    place.center(at);
    Triangle<T> t;
    t.load(p.view(place.view), p.faces + 3 * static_cast<int64_t>(face));
    t.locate(at[0], at[1], barycentric, &depth);
  }
  p.face[i] = face;
  p.barycentric[2 * i] = barycentric[0];
  p.barycentric[2 * i + 1] = barycentric[1];
  p.depth[i] = depth;
}

template <class T>
struct RasterizeBackwardParams {
  const T* clip;           // [B, V, 4]
  const int32_t* faces;    // [F, 3]
  const int32_t* face;     // [B, N, N]
  const T* d_barycentric;  // [B, N, N, 2] or null: zero
  const T* d_depth;        // [B, N, N] or null: zero
  int64_t views;           // B
  int64_t vertices;        // V
  int resolution;          // N
  T* d_clip;               // [B, V, 4] zeros, to which is added; or null:
  T* terms;                // [B, N, N, 3, 4] what each pixel adds to its corners

  DFAST_FIELDS(clip, faces, face, d_barycentric, d_depth, views, vertices, resolution, d_clip, terms)
};

// Computes the gradients of the corners of the triangle that a pixel sees; zeros if there is none.
template <class T>
DFAST_HD void rasterize_pixel_backward(const RasterizeBackwardParams<T>& p, const PixelPlace& place,
                                       T* d_corner /* [3, 4] */) {
  const int64_t i = place.index;
  for (int k = 0; k < 12; ++k) d_corner[k] = T(0);
  if (p.face[i] < 0) return;
  const T d_barycentric[2] = {p.d_barycentric ? p.d_barycentric[2 * i] : T(0),
                              p.d_barycentric ? p.d_barycentric[2 * i + 1] : T(0)};
  const T d_depth = p.d_depth ? p.d_depth[i] : T(0);
  if (d_barycentric[0] == T(0) && d_barycentric[1] == T(0) && d_depth == T(0)) return;
  T at[2];
  place.center(at);
  Triangle<T> t;
  t.load(p.clip + 4 * p.vertices * place.view, p.faces + 3 * static_cast<int64_t>(p.face[i]));
  t.locate_vjp(at[0], at[1], d_barycentric, d_depth, d_corner);
}

#define DFAST_RASTERIZE(X)                    \
  DFAST_FLOATS(X, rasterize, RasterizeParams) \
  DFAST_FLOATS(X, rasterize_backward, RasterizeBackwardParams)
DFAST_RASTERIZE(DFAST_DECLARE)

}  // namespace dfast
