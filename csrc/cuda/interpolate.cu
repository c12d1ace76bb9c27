// A thread per pixel. Bound by memory: a pixel reads three rows and writes one.
#include "ops/interpolate.h"

#include "cuda/corner_sums.cuh"
#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

template <class T>
__global__ void __launch_bounds__(kBlock) forward_kernel(InterpolateParams<T> p, int64_t pixels) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (i < pixels) interpolate_pixel(p, i);
}

template <class T>
__global__ void __launch_bounds__(kBlock) backward_kernel(InterpolateBackwardParams<T> p, int64_t pixels) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const bool inside = i < pixels;
  int64_t row[3] = {-1, -1, -1};
  T b[3] = {T(0), T(0), T(0)};
  if (inside) {
    interpolate_pixel_backward(p, i);
    if (corner_rows(p, i, row)) {
      b[0] = p.barycentric[2 * i];
      b[1] = p.barycentric[2 * i + 1];
      b[2] = T(1) - b[0] - b[1];
    }
  }
  const bool alike = one_triangle(p.rows_of_a_view ? i / p.pixels : 0, inside ? p.face[i] : -1);
  for (int c = 0; c < p.channels; ++c) {
    const T d = inside ? p.d_out[i * p.channels + c] : T(0);
    for (int k = 0; k < 3; ++k) {
      if (!p.terms) {
        add_to_row(p.d_attributes, row[k], p.channels, c, b[k] * d, alike);
      } else if (inside) {
        p.terms[(3 * i + k) * p.channels + c] = b[k] * d;
      }
    }
  }
}

}  // namespace

template <class T>
void interpolate(Launch launch, const InterpolateParams<T>& p) {
  const int64_t pixels = p.views * p.pixels;
  if (pixels == 0) return;
  const DeviceGuard guard(launch.device);
  forward_kernel<<<blocks_for(pixels, kBlock), kBlock, 0, stream_of(launch)>>>(p, pixels);
  check(cudaGetLastError(), "interpolate");
}

template <class T>
void interpolate_backward(Launch launch, const InterpolateBackwardParams<T>& p) {
  const int64_t pixels = p.views * p.pixels;
  if (pixels == 0) return;
  const DeviceGuard guard(launch.device);
  backward_kernel<<<blocks_for(pixels, kBlock), kBlock, 0, stream_of(launch)>>>(p, pixels);
  check(cudaGetLastError(), "interpolate_backward");
}

DFAST_INTERPOLATE(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
