#include "ops/interpolate.h"

#include "cpu/parallel.h"
#include "cpu/pixels.h"

namespace dfast::cpu {

constexpr int64_t kPixels = 4096;  // of a chunk

template <class T>
void interpolate(Launch launch, const InterpolateParams<T>& p) {
  parallel_chunks(launch.threads, p.views * p.pixels, kPixels, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) interpolate_pixel(p, i);
  });
}

template <class T>
void interpolate_backward(Launch launch, const InterpolateBackwardParams<T>& p) {
  parallel_chunks(launch.threads, p.views * p.pixels, kPixels, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) interpolate_pixel_backward(p, i);
  });
  for_each_owner(launch.threads, p.rows, [&](int64_t low, int64_t high) {
    for (int64_t i = 0; i < p.views * p.pixels; ++i) {
      int64_t row[3];
      if (!corner_rows(p, i, row)) continue;
      const T b0 = p.barycentric[2 * i], b1 = p.barycentric[2 * i + 1], b[3] = {b0, b1, T(1) - b0 - b1};
      for (int k = 0; k < 3; ++k) {
        if (row[k] < low || row[k] >= high) continue;
        T* to = p.d_attributes + row[k] * p.channels;
        for (int c = 0; c < p.channels; ++c) to[c] += b[k] * p.d_out[i * p.channels + c];
      }
    }
  });
}

DFAST_INTERPOLATE(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
