// Moments of groups, with reductions that give the same bits in every run.
//
// Sums go from rows to threads, from a block's threads to its groups (one warp per group), and from blocks to samples
// in the order of their numbers.
#pragma once

#include <cstdint>

#include "cuda/group_norm/apply.cuh"
#include "cuda/warp.h"

namespace dfast::cuda::norm {

// Merges the moments of `parts` parts, at most 32 kEach, of which part i has count(i) numbers. A warp calls it
// together.
template <int kEach, class T, class Count, class Get>
__device__ __forceinline__ Moments<T> merge(int parts, const Count& count, const Get& get) {
  const int lane = threadIdx.x % 32;
  Moments<T> held[kEach];
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    if (lane + 32 * k < parts) held[k] = get(lane + 32 * k);
  }
  const T first = __shfl_sync(kAllLanes, held[0].mean, 0);
  T numbers = 0, off = 0;
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    if (lane + 32 * k < parts) {
      const T n = count(lane + 32 * k);
      numbers += n;
      off += n * (held[k].mean - first);
    }
  }
  const T mean = first + warp_sum(off) / warp_sum(numbers);
  T sum = 0;
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    if (lane + 32 * k < parts) {
      const T d = held[k].mean - mean;
      sum += held[k].sum + count(lane + 32 * k) * d * d;
    }
  }
  return {mean, warp_sum(sum)};
}

// Adds up the rows of table [lanes, columns] into the first. The whole block calls it together.
template <class T>
__device__ __forceinline__ void add_lanes(T* table, int lanes, int columns) {
  const int wide = static_cast<int>(blockDim.x) / columns, parts = wide < 1 ? 1 : wide < lanes ? wide : lanes;
  __syncthreads();
  for (int i = threadIdx.x; i < parts * columns; i += blockDim.x) {  // row i / columns adds every parts-th row
    T sum = table[i];
#pragma unroll 8
    for (int at = i + parts * columns; at < lanes * columns; at += parts * columns) sum += table[at];
    table[i] = sum;
  }
  __syncthreads();
  if (parts == 1) return;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) {
    T sum = table[i];
#pragma unroll 8
    for (int part = 1; part < parts; ++part) sum += table[part * columns + i];
    table[i] = sum;
  }
  __syncthreads();
}

// Returns how many numbers of T a block needs in shared memory for the moments of its rows.
inline std::size_t moments_scratch(const Tile& tile) {
  return static_cast<std::size_t>(2 * tile.lanes + 1) * tile.channels;
}

// Returns the pivots of the shifted-variance algorithm: per channel, the median of three rows (first, middle, last). It
// is close to the mean even if one of the rows is an outlier.
template <class S, int W>
__device__ __forceinline__ auto origin_of(const S* x, int64_t pitch, int rows) {
  using T = typename Arithmetic<S>::type;
  const Vector<S, W> first = Channels<S, W>::read(x), middle = Channels<S, W>::read(x + rows / 2 * pitch),
                     last = Channels<S, W>::read(x + (rows - 1) * pitch);
  Vector<T, W> origin;
#pragma unroll
  for (int j = 0; j < W; ++j) {
    const T a = widen<T>(first.v[j]), b = widen<T>(middle.v[j]), c = widen<T>(last.v[j]);
    const T low = a < b ? a : b, high = a < b ? b : a;
    origin.v[j] = c < low ? low : c < high ? c : high;
  }
  return origin;
}

// Computes the moments of the tile's groups over `rows` rows, of which load(row) returns this thread's vector. One lane
// per group calls found(group, moments). Differences are taken from `origin`, which is the same in all lanes.
template <class S, int W, class T, class Load, class Found>
__device__ __forceinline__ void tile_moments(const Tile& tile, const Channels<S, W>& channels,
                                             const Vector<T, W>& origin, int rows, T* scratch, const Load& load,
                                             const Found& found) {
  const int lane = threadIdx.x / tile.vectors, at = threadIdx.x % tile.vectors * W;
  T *sums = scratch, *origins = scratch + 2 * tile.lanes * tile.channels;
  if (lane < tile.lanes) {
    T sum[W] = {}, squares[W] = {};
    for_rows<kDeep>(rows, lane, tile.lanes, load, [&](int, const Vector<S, W>& v) {
#pragma unroll
      for (int j = 0; j < W; ++j) {
        const T d = widen<T>(v.v[j]) - origin.v[j];
        sum[j] += d;
        squares[j] += d * d;
      }
    });
#pragma unroll
    for (int j = 0; j < W; ++j) {
      sums[2 * lane * tile.channels + at + j] = sum[j];
      sums[(2 * lane + 1) * tile.channels + at + j] = squares[j];
      if (lane == 0) origins[at + j] = origin.v[j] + channels.add[j];
    }
  }
  add_lanes(sums, tile.lanes, 2 * tile.channels);
  const int of_group = tile.channels / tile.groups;
  for (int g = threadIdx.x / 32; g < tile.groups; g += blockDim.x / 32) {
    const Moments<T> m = merge<kThreads / 32, T>(
        of_group, [&](int) { return T(rows); },
        [&](int i) {
          const int c = g * of_group + i;
          return shifted_moments(origins[c], sums[c], sums[tile.channels + c], T(rows));
        });
    if (threadIdx.x % 32 == 0) found(g, m);
  }
}

}  // namespace dfast::cuda::norm
