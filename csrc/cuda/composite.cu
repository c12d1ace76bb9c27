// One warp per ray (warp_ray.h). Bound by memory traffic: 24 bytes per sample forward, 40 backward with three channels.
#include "ops/composite.h"

#include "cuda/warp_ray.h"

namespace dfast::cuda {

namespace {

// Zeroes the values of samples of no ray. All threads of the grid call it together.
template <class T>
__device__ void zero_unowned(T* values /* [M, width] */, int64_t width, const int32_t* offsets, int64_t samples,
                             int64_t rays) {
  const int64_t threads = static_cast<int64_t>(gridDim.x) * kRayThreads;
  const int64_t id = static_cast<int64_t>(blockIdx.x) * kRayThreads + threadIdx.x;
  for (int64_t f = id; f < offsets[0] * width; f += threads) values[f] = T(0);
  for (int64_t f = offsets[rays] * width + id; f < samples * width; f += threads) values[f] = T(0);
}

// C is the number of channels, or 0 for any number, with which the colour stays in memory.
template <int C, class T>
__global__ void __launch_bounds__(kRayThreads) forward_kernel(CompositeParams<T> p) {
  const int lane = threadIdx.x % 32;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * kRayWarps;
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * kRayWarps + threadIdx.x / 32; r < p.rays; r += warps) {
    const int64_t begin = p.offsets[r], end = p.offsets[r + 1];
    T* color = p.color + r * p.channels;
    T sum[C ? C : 1] = {}, depth = T(0), opacity = T(0);
    for (int c = lane; C == 0 && c < p.channels; c += 32) color[c] = T(0);
    __syncwarp();
    Descent<T> descent;
    int64_t first = begin;
    for (; first < end && descent.goes_on(p.early_stop_eps); first += 32) {
      const int64_t i = first + lane;
      T optical = T(0), t = T(0), rgb[C ? C : 1] = {};
      if (i < end) {
        optical = p.density[i] * p.dt[i];
        t = p.t[i];
        for (int c = 0; c < C; ++c) rgb[c] = p.rgb[C * i + c];
      }
      const Absorption<T> a = descent.absorb(optical, i < end, p.early_stop_eps, lane);
      const T w = a.counts ? a.before * a.alpha : T(0);
      if (i < end) p.weights[i] = w;
      if (a.counts) {
        depth += w * t;
        opacity += w;
        for (int c = 0; c < C; ++c) sum[c] += w * rgb[c];
      }
      for (int c = 0; C == 0 && c < p.channels; ++c) {
        const T part = warp_sum(a.counts ? w * p.rgb[i * p.channels + c] : T(0));
        if (lane == 0) color[c] += part;
      }
    }
    if (first < end) store_zeros(p.weights + first, end - first, lane);
    if (begin < end) {
      for (int c = 0; c < C; ++c) sum[c] = warp_sum(sum[c]);
      depth = warp_sum(depth);
      opacity = warp_sum(opacity);
    }
    if (lane == 0) {
      for (int c = 0; c < C; ++c) color[c] = sum[c];
      p.depth[r] = depth;
      p.opacity[r] = opacity;
    }
  }
  zero_unowned(p.weights, 1, p.offsets, p.samples, p.rays);
}

// A first pass along the ray computes the optical depth in front of each 32 samples. A second pass in the opposite
// direction computes the gradients, 32 samples at a time.
template <int C, class T>
__global__ void __launch_bounds__(kRayThreads) backward_kernel(CompositeBackwardParams<T> p) {
  __shared__ T vectors[kRayWarps][96];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, channels = C ? C : p.channels;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * kRayWarps;
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * kRayWarps + warp; r < p.rays; r += warps) {
    const int64_t begin = p.offsets[r], end = p.offsets[r + 1];
    if (begin >= end) continue;
    int64_t first = descend(p.density, p.dt, begin, end, p.early_stop_eps, lane, p.d_density);
    if (first < end) {
      store_zeros(p.d_density + first, end - first, lane);
      store_zeros(p.d_rgb + first * channels, (end - first) * channels, lane);
    }

    const T d_depth = p.d_depth ? p.d_depth[r] : T(0), d_opacity = p.d_opacity ? p.d_opacity[r] : T(0);
    const T* from = p.d_color ? p.d_color + r * channels : nullptr;
    T d_color[C ? C : 1] = {};
    for (int c = 0; c < C; ++c) d_color[c] = from ? from[c] : T(0);
    Descent<T> descent;
    T behind = T(0);
    for (first -= 32; first >= begin; first -= 32) {
      const int64_t i = first + lane;
      const int n = static_cast<int>(end - first < 32 ? end - first : 32);
      T density = T(0), dt = T(0), g = d_opacity;
      if (lane < n) {
        density = p.density[i], dt = p.dt[i];
        g += d_depth * p.t[i];
        if (p.d_weights) g += p.d_weights[i];
        for (int c = 0; c < C; ++c) g += d_color[c] * p.rgb[C * i + c];
        for (int c = 0; C == 0 && from && c < channels; ++c) g += from[c] * p.rgb[i * channels + c];
      }
      descent.optical = __shfl_sync(kAllLanes, lane == 0 ? p.d_density[first] : T(0), 0);
      const Absorption<T> a = descent.absorb(density * dt, lane < n, p.early_stop_eps, lane);
      const T w = a.counts ? a.before * a.alpha : T(0), seen = look_behind(g, a, lane, &behind);
      if (lane < n) p.d_density[i] = a.counts ? absorb_vjp(g, seen, a.before * a.remains, dt) : T(0);
      if (C == 3) {
        const T d_rgb[3] = {w * d_color[0], w * d_color[C == 3 ? 1 : 0], w * d_color[C == 3 ? 2 : 0]};
        store_vectors(p.d_rgb + 3 * first, n, d_rgb, lane, vectors[warp]);
      } else if (lane < n) {
        for (int c = 0; c < channels; ++c) p.d_rgb[i * channels + c] = from ? w * from[c] : T(0);
      }
    }
  }
  zero_unowned(p.d_density, 1, p.offsets, p.samples, p.rays);
  zero_unowned(p.d_rgb, channels, p.offsets, p.samples, p.rays);
}

}  // namespace

template <class T>
void composite(Launch launch, const CompositeParams<T>& p) {
  if (p.rays == 0 && p.samples == 0) return;
  const DeviceGuard guard(launch.device);
  const auto kernel = p.channels == 3 ? &forward_kernel<3, T> : &forward_kernel<0, T>;
  kernel<<<ray_blocks(p.rays), kRayThreads, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "composite");
}

template <class T>
void composite_backward(Launch launch, const CompositeBackwardParams<T>& p) {
  if (p.samples == 0) return;
  const DeviceGuard guard(launch.device);
  const auto kernel = p.channels == 3 ? &backward_kernel<3, T> : &backward_kernel<0, T>;
  kernel<<<ray_blocks(p.rays), kRayThreads, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "composite_backward");
}

DFAST_COMPOSITE(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
