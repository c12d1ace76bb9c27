// One warp works on one ray, 32 neighbouring samples at a time, a lane each: loads and stores run along memory, and
// the products along the ray become scans by shuffles. Every function is called by all 32 lanes together. What comes
// out is a fixed tree of additions, the same from run to run.
#pragma once

#include <cstdint>

#include "cuda/launch.h"
#include "math/emission_absorption.h"

namespace dfast::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kRayThreads = 128;  // of a block
constexpr int kRayWarps = kRayThreads / 32;

// A warp takes rays r, r + warps, r + 2 warps ...: full rays, which neighbour each other in an image, are spread over
// the device, and empty ones cost no block. 4096 blocks fill any GPU of today.
inline unsigned ray_blocks(std::int64_t rays) {
  const unsigned blocks = blocks_for(rays, kRayWarps);
  return blocks < 1 ? 1 : blocks > 4096 ? 4096 : blocks;
}

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) value += __shfl_xor_sync(kAllLanes, value, d);
  return value;
}

// What one lane's sample absorbs.
template <class T>
struct Absorption {
  T alpha;      // 1 - exp(-density dt)
  T remains;    // exp(-density dt)
  T before;     // T_i
  bool counts;  // whether there is a sample and T_i is not below early_stop_eps
};

// How far the warp has come down its ray. Transmittance is exp of an optical depth that only ever grows: a product of
// 1 - alpha would lose its digits behind opaque samples.
template <class T>
struct Descent {
  T optical = T(0);  // depth of all samples so far

  __device__ bool goes_on(T early_stop_eps) const { return std::exp(-optical) >= early_stop_eps; }

  // depth: density dt of the lane's sample; lanes without one (`inside` false) give 0.
  __device__ Absorption<T> absorb(T depth, bool inside, T early_stop_eps, int lane) {
    T through = depth;
#pragma unroll
    for (int d = 1; d < 32; d <<= 1) {
      const T lower = __shfl_up_sync(kAllLanes, through, d);
      if (lane >= d) through += lower;
    }
    const T lower = __shfl_up_sync(kAllLanes, through, 1);
    const T before = std::exp(-(lane > 0 ? optical + lower : optical));
    optical += __shfl_sync(kAllLanes, through, 31);
    return {-std::expm1(-depth), std::exp(-depth), before, inside && before >= early_stop_eps};
  }
};

// Down a ray's samples begin .. end, for the optical depth in front of each 32 of them, which the first of them keeps
// in its d_density (lane 0 writes it and lane 0 reads it back). Returns where the light ends: the first sample not
// looked at.
template <class T>
__device__ __forceinline__ std::int64_t descend(const T* density, const T* dt, std::int64_t begin, std::int64_t end,
                                                T early_stop_eps, int lane, T* d_density) {
  Descent<T> descent;
  std::int64_t first = begin;
  for (; first < end && descent.goes_on(early_stop_eps); first += 32) {
    const std::int64_t i = first + lane;
    if (lane == 0) d_density[first] = descent.optical;
    descent.absorb(i < end ? density[i] * dt[i] : T(0), i < end, early_stop_eps, lane);
  }
  return first;
}

// The way back up: behind_i of each lane's sample (see absorb_vjp), a scan of the maps b -> alpha g + (1 - alpha) b.
// `carry` is what is behind the last lane, and becomes what is behind the sample in front of the first.
template <class T>
__device__ __forceinline__ T look_behind(T g, const Absorption<T>& a, int lane, T* carry) {
  T add = a.counts ? a.alpha * g : T(0), times = a.counts ? a.remains : T(1);
#pragma unroll
  for (int d = 1; d < 32; d <<= 1) {
    const T next_add = __shfl_down_sync(kAllLanes, add, d), next_times = __shfl_down_sync(kAllLanes, times, d);
    if (lane + d < 32) {
      add += times * next_add;
      times *= next_times;
    }
  }
  const T next_add = __shfl_down_sync(kAllLanes, add, 1), next_times = __shfl_down_sync(kAllLanes, times, 1);
  const T behind = lane < 31 ? next_add + next_times * *carry : *carry;
  *carry = __shfl_sync(kAllLanes, add, 0) + __shfl_sync(kAllLanes, times, 0) * *carry;
  return behind;
}

// Writes the v of the first n lanes to out [n, 3] as neighbouring numbers, by way of shared memory of the warp's own.
template <class T>
__device__ __forceinline__ void store_vectors(T* out, int n, const T* v /* [3] */, int lane, T* shared /* [96] */) {
  __syncwarp();  // an earlier store has been read
#pragma unroll
  for (int c = 0; c < 3; ++c) shared[3 * lane + c] = v[c];
  __syncwarp();
#pragma unroll
  for (int f = lane; f < 96; f += 32) {
    if (f < 3 * n) out[f] = shared[f];
  }
}

template <class T>
__device__ __forceinline__ void store_zeros(T* out, std::int64_t n, int lane) {
  for (std::int64_t f = lane; f < n; f += 32) out[f] = T(0);
}

}  // namespace dfast::cuda
