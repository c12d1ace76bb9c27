#include "ops/antialias.h"

#include <vector>

#include "cpu/owners.h"
#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kPixels = 1024;  // of a chunk

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
  parallel_chunks(launch.threads, s.views * pixels, kPixels, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) find_edges(p, i);
  });
  parallel_chunks(launch.threads, s.views * pixels, kPixels, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) blend_pixel(p, i);
  });
}

template <class T>
void antialias_backward(Launch launch, const AntialiasBackwardParams<T>& p) {
  const SeenSurface<T>& s = p.seen;
  const int64_t pixels = static_cast<int64_t>(s.resolution) * s.resolution;
  parallel_chunks(launch.threads, s.views * pixels, kPixels, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) blend_pixel_backward(p, i);
  });
  for_each_owner(launch.threads, s.views * s.vertices, [&](int64_t low, int64_t high) {
    const int64_t last = (high - 1) / s.vertices + 1;
    for (int64_t i = low / s.vertices * pixels; i < last * pixels; ++i) {
      for (int axis = 0; axis < 2; ++axis) {
        const int32_t edge = p.edge[2 * i + axis];
        if (edge < 0) continue;
        T d_ends[8];
        edge_backward(p, i, axis, d_ends);
        for (int end = 0; end < 2; ++end) {
          const int64_t corner = s.faces[3 * static_cast<int64_t>(edge / 3) + (edge % 3 + 1 + end) % 3];
          const int64_t row = i / pixels * s.vertices + corner;
          if (row < low || row >= high) continue;
          for (int c = 0; c < 4; ++c) p.d_clip[4 * row + c] += d_ends[4 * end + c];
        }
      }
    }
  });
}

DFAST_ANTIALIAS(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
