// Building blocks for kernels with one warp per ray. The warp takes 32 neighbouring samples at a time, one per lane:
// loads and stores are coalesced, and the products along the ray become scans by shuffles. All 32 lanes call every
// function together. The additions form a fixed tree, the same in every run.
#pragma once

#include <cstdint>

#include "cuda/launch.h"
#include "cuda/warp.h"
#include "math/emission_absorption.h"

namespace dfast::cuda {

constexpr int kRayThreads = 128;  // threads of a block
constexpr int kRayWarps = kRayThreads / 32;

// Returns the number of blocks. A warp takes rays r, r + warps, r + 2 warps, ..., so that rays with many samples, which
// are neighbours in an image, are spread over the device, and empty ones cost no block. 4096 blocks fill current GPUs.
inline unsigned ray_blocks(std::int64_t rays) {
  const unsigned blocks = blocks_for(rays, kRayWarps);
  return blocks < 1 ? 1 : blocks > 4096 ? 4096 : blocks;
}

// The absorption of one lane's sample.
template <class T>
struct Absorption {
  T alpha;      // 1 - exp(-density dt)
  T remains;    // exp(-density dt)
  T before;     // T_i
  bool counts;  // whether there is a sample and T_i is not below early_stop_eps
};

// The warp's progress along its ray. Transmittance is the exponential of an optical depth that only grows: a product of
// 1 - alpha would lose its accuracy behind opaque samples.
template <class T>
struct Descent {
  T optical = T(0);  // optical depth of all samples so far

  __device__ bool goes_on(T early_stop_eps) const { return std::exp(-optical) >= early_stop_eps; }

  // Absorbs 32 samples. `depth` is density dt of the lane's sample, 0 in lanes without one (`inside` false).
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

// Walks a ray's samples begin .. end and stores the optical depth in front of each 32 of them in d_density of their
// first one (lane 0 writes it, and lane 0 reads it back). Returns the first sample that was not visited because the ray
// ended.
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

// Returns behind_i of each lane's sample (see absorb_vjp), by a scan of the maps b -> alpha g + (1 - alpha) b. On entry
// `carry` is the value for the last lane; on return it is the value for the sample in front of the first lane.
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

// Writes the vectors v of the first n lanes to out [n, 3] with coalesced stores, through shared memory of the warp.
template <class T>
__device__ __forceinline__ void store_vectors(T* out, int n, const T* v /* [3] */, int lane, T* shared /* [96] */) {
  __syncwarp();  // waits until an earlier store has been read
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
