// Antialiasing of silhouettes by analytic coverage (Laine et al., "Modular primitives for high-performance
// differentiable rendering", 2020, section 3.5): where two neighbouring pixels see different triangles and a silhouette
// edge crosses the segment between their centres, the one that the edge intrudes on gets a share of the other's colour.
// The share is a function of the edge's ends, and so vertices get gradients.
//
// Unlike there, triangles may be smaller than pixels: the edge is found by a walk over the surface, from the triangle
// that the nearer pixel sees along the segment, from triangle to triangle, to the first edge that folds or ends it.
#pragma once
#include <cmath>
#include <cstdint>

#include "math/screen.h"
#include "math/triangle.h"
#include "ops/launcher.h"

namespace dfast {

constexpr int kMostSteps = 128;               // triangles of a walk
constexpr double kMarkRadius = 1 + 1.0 / 32;  // pixels around a silhouette edge; those of a pair are one apart

// What is seen, and the surface. Edge h = 3 f + k of triangle f is opposite corner k.
template <class T>
struct SeenSurface {
  const T* clip;         // [B, V, 4]
  const int32_t* faces;  // [F, 3]
  const int32_t* twins;  // [F, 3] the same edge of the neighbour, -1 where the surface ends
  const int32_t* face;   // [B, N, N]
  const T* depth;        // [B, N, N]
  int64_t views;         // B
  int64_t vertices;      // V
  int64_t triangles;     // F
  int resolution;        // N

  DFAST_FIELDS(clip, faces, twins, face, depth, views, vertices, triangles, resolution)

  DFAST_HD Triangle<T> triangle(int64_t view, int64_t f) const {
    Triangle<T> t;
    t.load(clip + 4 * vertices * view, faces + 3 * f);
    return t;
  }
};

template <class T>
struct AntialiasParams {
  SeenSurface<T> seen;
  const T* color;  // [B, N, N, C]
  int channels;    // C
  uint8_t* near;   // [B, N, N] zeros; set around silhouette edges
  int32_t* edge;   // [B, N, N, 2] the edge between a pixel and the one on the right or below, -1 for none
  T* offset;       // [B, N, N, 2] where it crosses, from the middle, in [-1/2, 1/2]
  T* out;          // [B, N, N, C]

  DFAST_FIELDS(seen, color, channels, near, edge, offset, out)
};

// Calls mark(pixel of the view) for the pixels around the segment between two points of the screen.
template <class T, class Mark>
DFAST_HD void mark_segment(const T* a /* [2] */, const T* b /* [2] */, int resolution, const Mark& mark) {
  const T* ends[2] = {a, b};
  const T radius = T(kMarkRadius), dy = b[1] - a[1];
  const PixelBox box = box_around(ends, 2, radius, resolution);
  const bool level = !(std::abs(dy) > T(1e-3));
  const T slope = level ? T(0) : (b[0] - a[0]) / dy, spread = radius * (T(1) + std::abs(slope));
  for (int y = box.y0; y < box.y1; ++y) {
    int x0 = box.x0, x1 = box.x1;
    if (!level) {
      const T x = a[0] + slope * (T(y) - a[1]);
      pixel_range(x - spread, x + spread, resolution, &x0, &x1);
      x0 = x0 > box.x0 ? x0 : box.x0;
      x1 = x1 < box.x1 ? x1 : box.x1;
    }
    for (int x = x0; x < x1; ++x) mark(static_cast<int64_t>(y) * resolution + x);
  }
}

// Marks the pixels around the silhouette edges of triangle f in a view. turns(f) returns whether a triangle turns
// counterclockwise.
template <class T, class Turns, class Mark>
DFAST_HD void mark_triangle(const SeenSurface<T>& s, int64_t view, int64_t f, const Turns& turns, const Mark& mark) {
  const bool own = turns(f);
  for (int k = 0; k < 3; ++k) {
    const int64_t edge = 3 * f + k;
    const int32_t twin = s.twins[edge];
    const bool other = twin >= 0 ? turns(twin / 3) : !own;
    if ((twin > edge) | (other == own)) continue;  // the later of two twins marks
    const T* p[2];
    for (int i = 0; i < 2; ++i) p[i] = s.clip + 4 * (s.vertices * view + s.faces[3 * f + (k + 1 + i) % 3]);
    if (p[0][3] > T(0) && p[1][3] > T(0)) {
      T a[2], b[2];
      to_screen(p[0], s.resolution, a);
      to_screen(p[1], s.resolution, b);
      mark_segment(a, b, s.resolution, mark);
    } else if (p[0][3] > T(0) || p[1][3] > T(0)) {
      for (int64_t i = 0; i < static_cast<int64_t>(s.resolution) * s.resolution; ++i) mark(i);
    }
  }
}

// Returns whether pixel i is the nearer of the pair with pixel j.
template <class T>
DFAST_HD bool is_nearer(const SeenSurface<T>& s, int64_t i, int64_t j) {
  return s.face[j] < 0 || (s.face[i] >= 0 && s.depth[i] <= s.depth[j]);
}

// Walks from a triangle that covers `from` to the silhouette edge before `to`. Returns it, -1 if there is none, and
// which part of the segment is before it. `behind` is the triangle that `to` sees.
template <class T>
DFAST_HD int32_t find_silhouette(const SeenSurface<T>& s, int64_t view, int32_t face, int32_t behind,
                                 const T* from /* [2] */, const T* to /* [2] */, T* part) {
  int came = -1;
  T passed = T(0);
  Triangle<T> t = s.triangle(view, face);
  for (int step = 0; step < kMostSteps; ++step) {
    T e[3], g[3];
    t.edges(from[0], from[1], e);
    t.edges(to[0], to[1], g);
    const T sign = t.weighted(e, t.w) < T(0) ? T(-1) : T(1);
    int leaves = -1;
    T least = T(2);
    for (int k = 0; k < 3; ++k) {
      const T a = sign * e[k], b = sign * g[k];
      if (k == came || !(b < T(0)) || !(a > b)) continue;
      const T at = a / (a - b);
      if (at < least) least = at, leaves = k;
    }
    if (leaves < 0) return -1;
    if (least > passed) passed = least;
    const int32_t edge = 3 * face + leaves, twin = s.twins[edge];
    *part = passed;
    if (twin < 0) return edge;
    const Triangle<T> next = s.triangle(view, twin / 3);
    if (next.counterclockwise() != t.counterclockwise()) return edge;
    if (twin / 3 == behind) return -1;
    face = twin / 3;
    came = twin % 3;
    t = next;
  }
  return -1;
}

// Returns whether edge k runs along the rows (axis 1) or across them (axis 0): each edge blends pairs of one axis.
template <class T>
DFAST_HD int edge_axis(const Triangle<T>& t, int k) {
  const int a = (k + 1) % 3, b = (k + 2) % 3;
  const T dx = cross2(t.x[b], t.w[b], t.x[a], t.w[a]), dy = cross2(t.y[b], t.w[b], t.y[a], t.w[a]);
  return std::abs(dy) >= std::abs(dx) ? 0 : 1;
}

// Computes the edges and offsets of a pixel's pairs with the one on the right (axis 0) and below (axis 1).
template <class T>
DFAST_HD void find_edges(const AntialiasParams<T>& p, const PixelPlace& place) {
  const SeenSurface<T>& s = p.seen;
  const int64_t i = place.index;
  for (int axis = 0; axis < 2; ++axis) {
    int32_t edge = -1;
    T offset = T(0);
    const int64_t j = i + place.stride(axis);
    if (p.near[i] && place.has_next(axis) && p.near[j] && s.face[i] != s.face[j]) {
      T at[2][2], part = T(0);
      place.center(at[0]);
      place.next(axis).center(at[1]);
      const bool first = is_nearer(s, i, j);
      edge = find_silhouette(s, place.view, s.face[first ? i : j], s.face[first ? j : i], at[!first], at[first], &part);
      if (edge >= 0 && edge_axis(s.triangle(place.view, edge / 3), edge % 3) != axis) edge = -1;
      if (edge >= 0) offset = first ? part - T(0.5) : T(0.5) - part;
    }
    p.edge[2 * i + axis] = edge;
    p.offset[2 * i + axis] = offset;
  }
}

// The shares of a pair's colours that change sides: of the first in the second, of the second in the first.
template <class T>
DFAST_HD T share_of_first(T offset) {
  return offset > T(0) ? offset : T(0);
}
template <class T>
DFAST_HD T share_of_second(T offset) {
  return offset < T(0) ? -offset : T(0);
}

// Calls body(neighbour, share of the neighbour in pixel i, share of pixel i in the neighbour).
template <class T, class Body>
DFAST_HD void visit_neighbours(const PixelPlace& place, const T* offset, const Body& body) {
  const int64_t i = place.index;
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t stride = place.stride(axis);
    if (place.has_next(axis)) {
      const T o = offset[2 * i + axis];
      if (o != T(0)) body(i + stride, share_of_second(o), share_of_first(o));
    }
    if (place.has_previous(axis)) {
      const T o = offset[2 * (i - stride) + axis];
      if (o != T(0)) body(i - stride, share_of_first(o), share_of_second(o));
    }
  }
}

template <class T>
DFAST_HD void blend_pixel(const AntialiasParams<T>& p, const PixelPlace& place) {
  const int64_t i = place.index;
  const int channels = p.channels;
  const T* own = p.color + i * channels;
  T* out = p.out + i * channels;
  for (int c = 0; c < channels; ++c) out[c] = own[c];
  if (!p.near[i]) return;  // most pixels; both of a pair that blends are near
  visit_neighbours(place, p.offset, [&](int64_t j, T share, T) {
    const T* other = p.color + j * channels;
    for (int c = 0; c < channels; ++c) out[c] += share * (other[c] - own[c]);
  });
}

template <class T>
struct AntialiasBackwardParams {
  SeenSurface<T> seen;
  const T* color;       // [B, N, N, C]
  const uint8_t* near;  // [B, N, N]
  const int32_t* edge;  // [B, N, N, 2]
  const T* offset;      // [B, N, N, 2]
  const T* d_out;       // [B, N, N, C]
  int channels;         // C
  T* d_color;           // [B, N, N, C]
  T* d_clip;            // [B, V, 4] zeros, to which is added; or null:
  T* terms;             // [B, N, N, 2, 2, 4] what each pair adds to the edge's ends

  DFAST_FIELDS(seen, color, near, edge, offset, d_out, channels, d_color, d_clip, terms)
};

template <class T>
DFAST_HD void blend_pixel_backward(const AntialiasBackwardParams<T>& p, const PixelPlace& place) {
  const int64_t i = place.index;
  const int channels = p.channels;
  const T* own = p.d_out + i * channels;
  T* d = p.d_color + i * channels;
  for (int c = 0; c < channels; ++c) d[c] = own[c];
  if (!p.near[i]) return;
  visit_neighbours(place, p.offset, [&](int64_t j, T taken, T given) {
    const T* other = p.d_out + j * channels;
    for (int c = 0; c < channels; ++c) d[c] += given * other[c] - taken * own[c];
  });
}

// Computes what a pair of a pixel adds to the ends of its edge, which exists.
//
// Either share moves colour by (first - second) per unit of the offset, into the second pixel for a positive one and
// out of the first for a negative one. The part of the segment before the edge is e / (e - g), with the edge function's
// values e at the nearer pixel and g at the other.
template <class T>
DFAST_HD void edge_backward(const AntialiasBackwardParams<T>& p, const PixelPlace& place, int axis,
                            T* d_ends /* [2, 4] */) {
  const SeenSurface<T>& s = p.seen;
  const int64_t i = place.index, j = i + place.stride(axis);
  const T *first = p.color + i * p.channels, *second = p.color + j * p.channels;
  const T* d_out = p.d_out + (p.offset[2 * i + axis] < T(0) ? i : j) * p.channels;
  T d_part = T(0);
  for (int c = 0; c < p.channels; ++c) d_part += d_out[c] * (first[c] - second[c]);
  for (int c = 0; c < 8; ++c) d_ends[c] = T(0);
  if (d_part == T(0)) return;
  T at[2][2];
  place.center(at[0]);
  place.next(axis).center(at[1]);
  const bool first_is_nearer = is_nearer(s, i, j);
  if (!first_is_nearer) d_part = -d_part;
  const T *from = at[!first_is_nearer], *to = at[first_is_nearer];
  const int32_t edge = p.edge[2 * i + axis];
  const int k = edge % 3;
  const Triangle<T> t = s.triangle(place.view, edge / 3);
  T qx[2][3], qy[2][3], d_corner[12] = {};
  for (int c = 0; c < 3; ++c) {
    t.relative(c, from[0], from[1], qx[0] + c, qy[0] + c);
    t.relative(c, to[0], to[1], qx[1] + c, qy[1] + c);
  }
  const T e = t.edge(k, qx[0], qy[0]), g = t.edge(k, qx[1], qy[1]);
  const T inverse = T(1) / (e - g), scale = d_part * inverse * inverse;
  t.edge_vjp(k, from[0], from[1], qx[0], qy[0], -g * scale, d_corner);
  t.edge_vjp(k, to[0], to[1], qx[1], qy[1], e * scale, d_corner);
  for (int end = 0; end < 2; ++end) {
    for (int c = 0; c < 4; ++c) d_ends[4 * end + c] = d_corner[4 * ((k + 1 + end) % 3) + c];
  }
}

#define DFAST_ANTIALIAS(X)                    \
  DFAST_FLOATS(X, antialias, AntialiasParams) \
  DFAST_FLOATS(X, antialias_backward, AntialiasBackwardParams)
DFAST_ANTIALIAS(DFAST_DECLARE)

}  // namespace dfast
