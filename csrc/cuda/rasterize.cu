// A thread sets up a triangle of a view and visits the pixels of its box, if they are few. The boxes with many pixels
// are then visited by all lanes of the warp, one box after the other. Where there are fewer triangles than fill a GPU,
// the images are cut into bands of rows, each with threads of its own. The nearest triangle of a pixel is found by an
// atomic minimum, which does not depend on the order. Atomics and reads of corners bound the kernel.
#include "ops/rasterize.h"

#include "cuda/corner_sums.cuh"
#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;
constexpr int kFewPixels = 32;         // of a box that a thread visits alone
constexpr int64_t kThreads = 1 << 17;  // that fill a GPU
constexpr int kBandRows = 8;           // fewest rows of a band

template <class T>
__device__ __forceinline__ void visit_pixel(const Triangle<T>& t, int32_t face, int x, int y, int resolution, T inverse,
                                            uint64_t* keys) {
  T depth;
  if (!t.covers(pixel_center(x, inverse), -pixel_center(y, inverse), &depth)) return;
  const unsigned long long key = depth_key(static_cast<float>(depth), face);
  atomicMin(reinterpret_cast<unsigned long long*>(keys) + static_cast<int64_t>(y) * resolution + x, key);
}

// Grid: (triangles, bands, views).
template <class T>
__global__ void __launch_bounds__(kBlock) fill_kernel(RasterizeParams<T> p) {
  const int64_t n = p.resolution, f = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const T* clip = p.view(blockIdx.z);
  const T inverse = T(1) / T(p.resolution);
  uint64_t* keys = p.keys + blockIdx.z * n * n;
  Triangle<T> t;
  PixelBox box = {0, 0, 0, 0};
  if (f < p.triangles) {
    t.load(clip, p.faces + 3 * f);
    T screen[3][2];
    const T* at[3];
    for (int k = 0; k < 3; ++k) {
      const T corner[4] = {t.x[k], t.y[k], t.z[k], t.w[k]};
      to_screen(corner, p.resolution, screen[k]);
      at[k] = screen[k];
    }
    box = triangle_box(at, t.w[0], t.w[1], t.w[2], p.resolution);
    const int first = static_cast<int>(n * blockIdx.y / gridDim.y),
              last = static_cast<int>(n * (blockIdx.y + 1) / gridDim.y);
    box.y0 = box.y0 > first ? box.y0 : first;
    box.y1 = box.y1 < last ? box.y1 : last;
  }
  const int width = box.x1 - box.x0;
  const int64_t pixels = box.empty() ? 0 : static_cast<int64_t>(width) * (box.y1 - box.y0);
  if (pixels <= kFewPixels) {
    for (int i = 0; i < pixels; ++i) {
      visit_pixel(t, static_cast<int32_t>(f), box.x0 + i % width, box.y0 + i / width, p.resolution, inverse, keys);
    }
  }
  const int lane = threadIdx.x % 32;
  for (unsigned many = __ballot_sync(kAllLanes, pixels > kFewPixels); many; many &= many - 1) {
    const int owner = __ffs(many) - 1;
    const int32_t face = static_cast<int32_t>(f) - lane + owner;
    const int x0 = __shfl_sync(kAllLanes, box.x0, owner), y0 = __shfl_sync(kAllLanes, box.y0, owner);
    const int w = __shfl_sync(kAllLanes, width, owner);
    const int64_t count = __shfl_sync(kAllLanes, static_cast<long long>(pixels), owner);
    Triangle<T> large;
    large.load(clip, p.faces + 3 * static_cast<int64_t>(face));
    for (int64_t i = lane; i < count; i += 32) {
      visit_pixel(large, face, x0 + static_cast<int>(i % w), y0 + static_cast<int>(i / w), p.resolution, inverse, keys);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kBlock) resolve_kernel(RasterizeParams<T> p, int64_t pixels) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (i < pixels) resolve_pixel(p, PixelPlace::of(i, p.resolution));
}

template <class T>
__global__ void __launch_bounds__(kBlock) backward_kernel(RasterizeBackwardParams<T> p, int64_t pixels) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const int32_t face = i < pixels ? p.face[i] : -1;
  T d_corner[12] = {};
  if (face >= 0) rasterize_pixel_backward(p, PixelPlace::of(i, p.resolution), d_corner);
  if (p.terms) {
    for (int k = 0; k < 12 && i < pixels; ++k) p.terms[12 * i + k] = d_corner[k];
    return;
  }
  const int64_t view = i / (static_cast<int64_t>(p.resolution) * p.resolution);
  const bool alike = one_triangle(view, face);
  for (int k = 0; k < 3; ++k) {
    const int64_t row = face < 0 ? -1 : view * p.vertices + p.faces[3 * static_cast<int64_t>(face) + k];
    for (int c = 0; c < 4; ++c) add_to_row(p.d_clip, row, 4, c, d_corner[4 * k + c], alike);
  }
}

}  // namespace

template <class T>
void rasterize(Launch launch, const RasterizeParams<T>& p) {
  const int64_t pixels = p.views * p.resolution * p.resolution;
  if (pixels == 0) return;
  const DeviceGuard guard(launch.device);
  check(cudaMemsetAsync(p.keys, 0xff, sizeof(uint64_t) * pixels, stream_of(launch)), "rasterize");
  if (p.triangles > 0) {
    const int64_t most = p.resolution / kBandRows > 0 ? p.resolution / kBandRows : 1;
    const int64_t wanted = kThreads / (p.views * p.triangles) + 1;
    const dim3 grid(blocks_for(p.triangles, kBlock), static_cast<unsigned>(wanted < most ? wanted : most),
                    static_cast<unsigned>(p.views));
    fill_kernel<<<grid, kBlock, 0, stream_of(launch)>>>(p);
    check(cudaGetLastError(), "rasterize");
  }
  resolve_kernel<<<blocks_for(pixels, kBlock), kBlock, 0, stream_of(launch)>>>(p, pixels);
  check(cudaGetLastError(), "rasterize");
}

template <class T>
void rasterize_backward(Launch launch, const RasterizeBackwardParams<T>& p) {
  const int64_t pixels = p.views * p.resolution * p.resolution;
  if (pixels == 0) return;
  const DeviceGuard guard(launch.device);
  backward_kernel<<<blocks_for(pixels, kBlock), kBlock, 0, stream_of(launch)>>>(p, pixels);
  check(cudaGetLastError(), "rasterize_backward");
}

DFAST_RASTERIZE(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
