#include "ops/antialias.h"

#include <vector>

#include "cpu/parallel.h"
#include "cpu/pixels.h"

namespace dfast::cpu {

template <class T>
void antialias(Launch launch, const AntialiasParams<T>& p) {
  const SeenSurface<T>& s = p.seen;
  const int64_t pixels = static_cast<int64_t>(s.resolution) * s.resolution;
  parallel_chunks(
      launch.threads, s.views, 1, [&] { return std::vector<uint8_t>(s.triangles); },
      [&](int64_t view, int64_t, std::vector<uint8_t>& turns) {
        for (int64_t f = 0; f < s.triangles; ++f) turns[f] = s.triangle(view, f).counterclockwise();
        const auto mark = [&](int64_t pixel) { p.near[view * pixels + pixel] = 1; };
        for (int64_t f = 0; f < s.triangles; ++f) {
          mark_triangle(s, view, f, [&](int64_t g) { return turns[g] != 0; }, mark);
        }
      });
  const auto find = [&](const PixelPlace& place) { find_edges(p, place); };
  const auto blend = [&](const PixelPlace& place) { blend_pixel(p, place); };
  for_each_pixel(launch.threads, s.views, s.resolution, find);
  for_each_pixel(launch.threads, s.views, s.resolution, blend);
}

template <class T>
void antialias_backward(Launch launch, const AntialiasBackwardParams<T>& p) {
  const SeenSurface<T>& s = p.seen;
  const int64_t n = s.resolution;
  const auto blend = [&](const PixelPlace& place) { blend_pixel_backward(p, place); };
  for_each_pixel(launch.threads, s.views, s.resolution, blend);
  for_each_owner(launch.threads, s.views * s.vertices, [&](int64_t low, int64_t high) {
    const int64_t first = low / s.vertices, last = (high - 1) / s.vertices;
    visit_rows(first * n, (last + 1) * n, s.resolution, [&](const PixelPlace& place) {
      if (!p.near[place.index]) return;
      for (int axis = 0; axis < 2; ++axis) {
        const int32_t edge = p.edge[2 * place.index + axis];
        if (edge < 0) continue;
        T d_ends[8];
        edge_backward(p, place, axis, d_ends);
        for (int end = 0; end < 2; ++end) {
          const int64_t corner = s.faces[3 * static_cast<int64_t>(edge / 3) + (edge % 3 + 1 + end) % 3];
          const int64_t row = place.view * s.vertices + corner;
          if (row < low || row >= high) continue;
          for (int c = 0; c < 4; ++c) p.d_clip[4 * row + c] += d_ends[4 * end + c];
        }
      }
    });
  });
}

DFAST_ANTIALIAS(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
