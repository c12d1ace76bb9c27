// One warp per ray (warp_ray.h). Bound by memory traffic: both kernels read 48 bytes per sample, the backward one
// writes 28.
#include "ops/shade_composite.h"

#include "cuda/warp_ray.h"

namespace dfast::cuda {

namespace {

// The sample of one lane.
template <bool kNormals, class T>
struct Sample {
  T density = T(0), dt = T(0), t = T(0);
  T albedo[3] = {}, gradient[3] = {}, x[3] = {};

  __device__ void load(const ShadeCompositeInput<T>& p, int64_t i) {
    density = p.density[i], dt = p.dt[i], t = p.t[i];
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      albedo[c] = p.albedo[3 * i + c];
      if (kNormals) gradient[c] = p.gradient[3 * i + c], x[c] = p.x[3 * i + c];
    }
  }
  __device__ Shaded<T> shade(const ShadeCompositeRay<T>& ray, T eps) const {
    return shade_point(ray.lighting, kNormals ? gradient : nullptr, albedo, x, eps);
  }
};

template <bool kNormals, class T>
__global__ void __launch_bounds__(kRayThreads) forward_kernel(ShadeCompositeInput<T> p, ShadeCompositeOutput<T> out) {
  const int lane = threadIdx.x % 32;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * kRayWarps;
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * kRayWarps + threadIdx.x / 32; r < p.rays; r += warps) {
    const int64_t begin = p.offsets[r], end = p.offsets[r + 1];
    const ShadeCompositeRay<T> ray(p, r);
    ShadeCompositeSums<T> sums;
    Descent<T> descent;
    for (int64_t first = begin; first < end && descent.goes_on(p.early_stop_eps); first += 32) {
      const int64_t i = first + lane;
      Sample<kNormals, T> sample;
      if (i < end) sample.load(p, i);
      const Absorption<T> a = descent.absorb(sample.density * sample.dt, i < end, p.early_stop_eps, lane);
      if (a.counts) sums.add(ray, sample.shade(ray, p.eps), a.before * a.alpha, sample.t);
    }
    if (begin < end) {
#pragma unroll
      for (int c = 0; c < 3; ++c) {
        sums.color[c] = warp_sum(sums.color[c]);
        if (kNormals) sums.normal[c] = warp_sum(sums.normal[c]);
      }
      sums.opacity = warp_sum(sums.opacity);
      sums.depth = warp_sum(sums.depth);
      if (kNormals) sums.orientation = warp_sum(sums.orientation);
    }
    if (lane == 0) sums.write(out, ray.background, r);
  }
}

// A first pass along the ray computes the optical depth in front of each 32 samples. A second pass in the opposite
// direction computes the gradients, 32 samples at a time.
template <bool kNormals, class T>
__global__ void __launch_bounds__(kRayThreads) backward_kernel(ShadeCompositeInput<T> p, ShadeCompositeGradients<T> d) {
  __shared__ T vectors[kRayWarps][96];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * kRayWarps;
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * kRayWarps + warp; r < p.rays; r += warps) {
    const int64_t begin = p.offsets[r], end = p.offsets[r + 1];
    if (begin >= end) continue;
    int64_t first = descend(p.density, p.dt, begin, end, p.early_stop_eps, lane, d.d_density);
    if (first < end) {
      store_zeros(d.d_density + first, end - first, lane);
      store_zeros(d.d_albedo + 3 * first, 3 * (end - first), lane);
      if (kNormals) store_zeros(d.d_gradient + 3 * first, 3 * (end - first), lane);
    }

    const ShadeCompositeRay<T> ray(p, r);
    const ShadeCompositeAdjoint<T> adjoint(d, ray.background, r);
    Descent<T> descent;
    T behind = T(0);
    for (first -= 32; first >= begin; first -= 32) {
      const int64_t i = first + lane;
      const int n = static_cast<int>(end - first < 32 ? end - first : 32);
      Sample<kNormals, T> sample;
      if (lane < n) sample.load(p, i);
      descent.optical = __shfl_sync(kAllLanes, lane == 0 ? d.d_density[first] : T(0), 0);
      const Absorption<T> a = descent.absorb(sample.density * sample.dt, lane < n, p.early_stop_eps, lane);
      T d_albedo[3] = {}, d_gradient[3] = {}, g = T(0);
      if (a.counts) {
        const Shaded<T> s = sample.shade(ray, p.eps);
        g = adjoint.weight(s, sample.t);
        adjoint.sample(ray, s, a.before * a.alpha, d_albedo, kNormals ? d_gradient : nullptr);
      }
      const T seen = look_behind(g, a, lane, &behind);
      if (lane < n) d.d_density[i] = a.counts ? absorb_vjp(g, seen, a.before * a.remains, sample.dt) : T(0);
      store_vectors(d.d_albedo + 3 * first, n, d_albedo, lane, vectors[warp]);
      if (kNormals) store_vectors(d.d_gradient + 3 * first, n, d_gradient, lane, vectors[warp]);
    }
  }
}

}  // namespace

template <class T>
void shade_composite(Launch launch, const ShadeCompositeParams<T>& p) {
  if (p.in.rays == 0) return;
  const DeviceGuard guard(launch.device);
  const auto kernel = p.in.gradient ? &forward_kernel<true, T> : &forward_kernel<false, T>;
  kernel<<<ray_blocks(p.in.rays), kRayThreads, 0, stream_of(launch)>>>(p.in, p.out);
  check(cudaGetLastError(), "shade_composite");
}

template <class T>
void shade_composite_backward(Launch launch, const ShadeCompositeBackwardParams<T>& p) {
  if (p.in.rays == 0) return;
  const DeviceGuard guard(launch.device);
  const auto kernel = p.in.gradient ? &backward_kernel<true, T> : &backward_kernel<false, T>;
  kernel<<<ray_blocks(p.in.rays), kRayThreads, 0, stream_of(launch)>>>(p.in, p.d);
  check(cudaGetLastError(), "shade_composite_backward");
}

DFAST_SHADE_COMPOSITE(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
