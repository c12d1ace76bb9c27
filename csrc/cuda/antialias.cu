// Marking has a thread per triangle, the rest one per pixel. Few pixels are at a silhouette, so that most threads of
// the walk return at once, and the atomics of the backward pass are few.
#include "ops/antialias.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

__device__ __forceinline__ int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x; }

// Grid: (triangles, views).
template <class T>
__global__ void __launch_bounds__(kBlock) mark_kernel(AntialiasParams<T> p) {
  const int64_t f = thread_index(), view = blockIdx.y;
  if (f >= p.seen.triangles) return;
  uint8_t* near = p.near + view * p.seen.resolution * p.seen.resolution;
  const auto turns = [&](int64_t g) { return p.seen.triangle(view, g).counterclockwise(); };
  mark_triangle(p.seen, view, f, turns, [&](int64_t pixel) { near[pixel] = 1; });
}

template <class T>
__global__ void __launch_bounds__(kBlock) find_kernel(AntialiasParams<T> p, int64_t pixels) {
  const int64_t i = thread_index();
  if (i < pixels) find_edges(p, PixelPlace::of(i, p.seen.resolution));
}

template <class T>
__global__ void __launch_bounds__(kBlock) blend_kernel(AntialiasParams<T> p, int64_t pixels) {
  const int64_t i = thread_index();
  if (i < pixels) blend_pixel(p, PixelPlace::of(i, p.seen.resolution));
}

template <class T>
__global__ void __launch_bounds__(kBlock) backward_kernel(AntialiasBackwardParams<T> p, int64_t pixels) {
  const int64_t i = thread_index();
  if (i >= pixels) return;
  const SeenSurface<T>& s = p.seen;
  const PixelPlace place = PixelPlace::of(i, s.resolution);
  blend_pixel_backward(p, place);
  for (int axis = 0; axis < 2; ++axis) {
    const int32_t edge = p.edge[2 * i + axis];
    T d_ends[8] = {};
    if (edge >= 0) edge_backward(p, place, axis, d_ends);
    if (p.terms) {
      for (int c = 0; c < 8; ++c) p.terms[8 * (2 * i + axis) + c] = d_ends[c];
    } else if (edge >= 0) {
      for (int end = 0; end < 2; ++end) {
        const int64_t corner = s.faces[3 * static_cast<int64_t>(edge / 3) + (edge % 3 + 1 + end) % 3];
        T* to = p.d_clip + 4 * (place.view * s.vertices + corner);
        for (int c = 0; c < 4; ++c) {
          if (c != 2) atomicAdd(to + c, d_ends[4 * end + c]);
        }
      }
    }
  }
}

}  // namespace

template <class T>
void antialias(Launch launch, const AntialiasParams<T>& p) {
  const SeenSurface<T>& s = p.seen;
  const int64_t pixels = s.views * s.resolution * s.resolution;
  if (pixels == 0) return;
  const DeviceGuard guard(launch.device);
  if (s.triangles > 0) {
    const dim3 grid(blocks_for(s.triangles, kBlock), static_cast<unsigned>(s.views));
    mark_kernel<<<grid, kBlock, 0, stream_of(launch)>>>(p);
    check(cudaGetLastError(), "antialias");
  }
  find_kernel<<<blocks_for(pixels, kBlock), kBlock, 0, stream_of(launch)>>>(p, pixels);
  check(cudaGetLastError(), "antialias");
  blend_kernel<<<blocks_for(pixels, kBlock), kBlock, 0, stream_of(launch)>>>(p, pixels);
  check(cudaGetLastError(), "antialias");
}

template <class T>
void antialias_backward(Launch launch, const AntialiasBackwardParams<T>& p) {
  const int64_t pixels = p.seen.views * p.seen.resolution * p.seen.resolution;
  if (pixels == 0) return;
  const DeviceGuard guard(launch.device);
  backward_kernel<<<blocks_for(pixels, kBlock), kBlock, 0, stream_of(launch)>>>(p, pixels);
  check(cudaGetLastError(), "antialias_backward");
}

DFAST_ANTIALIAS(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
