// The images are cut into bands of rows, and a thread fills a band at a time: it scans the triangles of the view in
// order, and no two threads write to one pixel.
#include "ops/rasterize.h"

#include <algorithm>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/pixels.h"

namespace dfast::cpu {

namespace {

constexpr int64_t kPoints = 4096;                                                 // of a chunk
constexpr int kTileColumns = 4, kTileRows = 2, kTile = kTileColumns * kTileRows;  // pixels visited together

// Visits the pixels of a tile that are in the box, as vector code. Most triangles of a fine mesh fit into one tile.
template <class T>
void visit_tile(const Triangle<T>& t, int32_t face, int x, int y, const PixelBox& box, int resolution, uint64_t* keys) {
  const T inverse = T(1) / T(resolution);
  T depth[kTile];
  unsigned seen = 0;
  for (int i = 0; i < kTile; ++i) {
    const int column = x + i % kTileColumns, row = y + i / kTileColumns;
    const bool covered = t.covers(pixel_center(column, inverse), -pixel_center(row, inverse), depth + i);
    seen |= static_cast<unsigned>(covered & (column < box.x1) & (row < box.y1)) << i;
  }
  for (; seen; seen &= seen - 1) {
    const int i = __builtin_ctz(seen);
    uint64_t& key = keys[static_cast<int64_t>(y + i / kTileColumns) * resolution + x + i % kTileColumns];
    key = std::min(key, depth_key(static_cast<float>(depth[i]), face));
  }
}

// Fills rows [begin, end) of the B N rows, all of one view, with keys.
template <class T>
void fill_band(const RasterizeParams<T>& p, const T* screen /* [B, V, 3] */, int64_t begin, int64_t end) {
  const int64_t n = p.resolution, view = begin / n;
  const int first = static_cast<int>(begin - view * n), last = static_cast<int>(end - view * n);
  const T *clip = p.view(view), *on_screen = screen + 3 * p.vertices * view;
  uint64_t* keys = p.keys + view * n * n;
  std::fill(keys + first * n, keys + last * n, kNoKey);
  for (int64_t f = 0; f < p.triangles; ++f) {
    const int32_t* corners = p.faces + 3 * f;
    const T* at[3];
    for (int k = 0; k < 3; ++k) at[k] = on_screen + 3 * static_cast<int64_t>(corners[k]);
    PixelBox box = triangle_box(at, at[0][2], at[1][2], at[2][2], p.resolution);
    box.y0 = std::max(box.y0, first);
    box.y1 = std::min(box.y1, last);
    if (box.empty()) continue;
    Triangle<T> t;
    t.load(clip, corners);
    for (int y = box.y0; y < box.y1; y += kTileRows) {
      for (int x = box.x0; x < box.x1; x += kTileColumns) {
        visit_tile(t, static_cast<int32_t>(f), x, y, box, p.resolution, keys);
      }
    }
  }
}

}  // namespace

template <class T>
void rasterize(Launch launch, const RasterizeParams<T>& p) {
  std::vector<T> screen(3 * p.views * p.vertices);  // x, y and w of every vertex
  parallel_chunks(launch.threads, p.views * p.vertices, kPoints, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      to_screen(p.clip + 4 * i, p.resolution, screen.data() + 3 * i);
      screen[3 * i + 2] = p.clip[4 * i + 3];
    }
  });
  // Every band scans all triangles of its view, so there are no more bands than keep the threads busy.
  const int64_t n = p.resolution, wanted = launch.threads > 1 ? 4 * launch.threads : 1;
  const int64_t bands = std::min(n, std::max<int64_t>(1, wanted / std::max<int64_t>(p.views, 1)));
  parallel_chunks(launch.threads, p.views * bands, 1, [&](int64_t band, int64_t) {
    const int64_t view = band / bands, k = band % bands;
    const int64_t begin = view * n + n * k / bands, end = view * n + n * (k + 1) / bands;
    fill_band(p, screen.data(), begin, end);
    visit_rows(begin, end, p.resolution, [&](const PixelPlace& place) { resolve_pixel(p, place); });
  });
}

template <class T>
void rasterize_backward(Launch launch, const RasterizeBackwardParams<T>& p) {
  const int64_t n = p.resolution;
  for_each_owner(launch.threads, p.views * p.vertices, [&](int64_t low, int64_t high) {
    const int64_t first = low / p.vertices, last = (high - 1) / p.vertices;
    visit_rows(first * n, (last + 1) * n, p.resolution, [&](const PixelPlace& place) {
      const int32_t face = p.face[place.index];
      if (face < 0) return;
      T d_corner[12];
      rasterize_pixel_backward(p, place, d_corner);
      for (int k = 0; k < 3; ++k) {
        const int64_t row = place.view * p.vertices + p.faces[3 * static_cast<int64_t>(face) + k];
        if (row < low || row >= high) continue;
        for (int c = 0; c < 4; ++c) p.d_clip[4 * row + c] += d_corner[4 * k + c];
      }
    });
  });
}

DFAST_RASTERIZE(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
