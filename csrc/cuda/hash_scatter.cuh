// The scatter into a hash grid's gradient with two float features per row.
//
// The number of requests that reach L2, and of lanes in them, bounds it, whatever their width; throughput halves when
// the rows do not stay in L2. Hence three measures. A few levels are processed at a time, so that their rows stay in
// L2. Neighbours along x are added in one 16-byte reduction where they are aligned, else in one instruction
// (add_corners). A warp's samples, which are neighbours on a ray, are summed first where they fall into the same cell,
// which most of them do on coarse levels.
#pragma once

#include "cuda/field/grid.cuh"
#include "cuda/launch.h"

// float2 and float4 atomicAdd need sm_90 (and are not even declared below it).
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define DFAST_VECTOR_ATOMICS true
#else
#define DFAST_VECTOR_ATOMICS false
#endif

namespace dfast::cuda {

constexpr int kScatterBlock = 128;
constexpr int kScatterLevels =
    4;  // levels that a thread processes for one sample, whose position and gradients are then in L1

__device__ __forceinline__ void add_row(float* __restrict__ out, std::uint32_t row, const float (&v)[2]) {
#if DFAST_VECTOR_ATOMICS
  atomicAdd(reinterpret_cast<float2*>(out) + row, make_float2(v[0], v[1]));
#else
  atomicAdd(out + 2 * static_cast<std::size_t>(row), v[0]);
  atomicAdd(out + 2 * static_cast<std::size_t>(row) + 1, v[1]);
#endif
}

// Adds to rows 2k and 2k + 1, v0 to the lower one.
__device__ __forceinline__ void add_pair(float* __restrict__ out, std::uint32_t pair, const float (&v0)[2],
                                         const float (&v1)[2]) {
#if DFAST_VECTOR_ATOMICS
  atomicAdd(reinterpret_cast<float4*>(out) + pair, make_float4(v0[0], v0[1], v1[0], v1[1]));
#endif
}

// Adds the terms of each lane for which `adds` is set. A pair of lanes works on the sample of the even lane, then on
// that of the odd one. Where two neighbours along x are an aligned pair, the sample's lane adds both. Elsewhere each
// lane adds one in the same instruction, because rows of one cache line then make a single request.
__device__ __forceinline__ void add_corners(float* __restrict__ out, bool adds, const std::uint32_t (&row)[8],
                                            const float (&term)[8][2]) {
  constexpr std::uint32_t kPair = 1u << 31;  // marks a row that the sample's lane adds
  const unsigned lane = threadIdx.x & 31, both = __ballot_sync(~0u, adds) >> (lane & 30u);
  const bool odd = lane & 1u;
  std::uint32_t other_row[4];
  float other[4][2];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const std::uint32_t r0 = row[2 * k], r1 = row[2 * k + 1];
    const std::uint32_t pair = DFAST_VECTOR_ATOMICS && (r0 ^ r1) == 1u ? kPair : 0u;
    other_row[k] = __shfl_xor_sync(~0u, (odd ? r0 : r1) | pair, 1);
#pragma unroll
    for (int f = 0; f < 2; ++f) other[k][f] = __shfl_xor_sync(~0u, odd ? term[2 * k][f] : term[2 * k + 1][f], 1);
  }
#pragma unroll
  for (int turn = 0; turn < 2; ++turn) {
    if (!(both >> turn & 1u)) continue;
    const bool own = odd == (turn == 1);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const std::uint32_t r0 = row[2 * k], r1 = row[2 * k + 1];
      const bool pair = own ? DFAST_VECTOR_ATOMICS && (r0 ^ r1) == 1u : (other_row[k] & kPair) != 0;
      if (!pair) {
        const float (&mine)[2] =
            term[2 * k + turn];  // turn is the lane whose sample it is, and the side that this lane adds
        const float value[2] = {own ? mine[0] : other[k][0], own ? mine[1] : other[k][1]};
        add_row(out, own ? (turn ? r1 : r0) : other_row[k], value);
      } else if (own) {
        r0 & 1u ? add_pair(out, r0 >> 1, term[2 * k + 1], term[2 * k])
                : add_pair(out, r0 >> 1, term[2 * k], term[2 * k + 1]);
      }
    }
  }
}

// Computes what one sample adds to its cell's corners, w_c d + (u . grad w_c) a, axis by axis: each axis k maps (d, a)
// to (w_k d + u_k w_k' a, w_k a) at the upper vertex.
template <bool kSecondOrder>
__device__ __forceinline__ void corner_terms(const FieldCell& cell, float weight, const float (&u)[3],
                                             const float (&d)[2], const float (&a)[2], float (&term)[8][2]) {
#pragma unroll
  for (int f = 0; f < 2; ++f) {
    float p[8], q[8];
    p[0] = weight * d[f], q[0] = kSecondOrder ? weight * a[f] : 0.0f;
#pragma unroll
    for (int k = 2; k >= 0; --k) {  // z, y, x: the last axis ends up in bit 0
      const float w1 = cell.w[k], w0 = 1.0f - w1, slope = kSecondOrder ? u[k] * cell.d[k] : 0.0f;
#pragma unroll
      for (int i = (4 >> k) - 1; i >= 0; --i) {
        const float p1 = w1 * p[i] + (kSecondOrder ? slope * q[i] : 0.0f),
                    p0 = w0 * p[i] - (kSecondOrder ? slope * q[i] : 0.0f);
        p[2 * i + 1] = p1, p[2 * i] = p0;
        if (kSecondOrder && k > 0) {
          const float q1 = w1 * q[i], q0 = w0 * q[i];
          q[2 * i + 1] = q1, q[2 * i] = q0;
        }
      }
    }
#pragma unroll
    for (int c = 0; c < 8; ++c) term[c][f] = p[c];
  }
}

// Adds the terms of a warp's samples in level l. Source provides points and adjoints: point(i, x) (in [0, 1] if
// kInside), adjoint(i, l, d), and with kSecondOrder direction(i, u) and second(i, l, a). All lanes call it together,
// each with its own sample.
template <bool kSecondOrder, class Source>
__device__ __forceinline__ void scatter_warp(const FieldLevel& level, bool smooth, const Source& source, std::int64_t i,
                                             std::int64_t n, int l, float* __restrict__ out) {
  const unsigned lane = threadIdx.x & 31;
  float x[3], u[3] = {}, d[2] = {}, a[2] = {};
  bool any = i < n;
  if (any) {
    source.adjoint(i, l, d);
    any = d[0] != 0.0f || d[1] != 0.0f;
    if constexpr (kSecondOrder) {
      source.direction(i, u);
      source.second(i, l, a);
      any |= u[0] != 0.0f || u[1] != 0.0f || u[2] != 0.0f;
    }
  }
  if (__ballot_sync(~0u, any) == 0) return;  // true for most samples of an image: they are hidden or in empty space
  FieldCell cell = {};
  float term[8][2] = {};
  if (any) {
    source.point(i, x);
    cell = locate<Source::kInside>(level, smooth, x);
    corner_terms<kSecondOrder>(cell, level.weight, u, d, a, term);
  }

  // A run is a sequence of lanes whose samples lie in one cell. Its first lane (head) receives the sum of the run: each
  // lane adds the terms of the lane 1, 2, 4, ... further on, if that lane is in its run.
  bool head = __shfl_up_sync(~0u, static_cast<int>(any), 1) == 0 || lane == 0 || !any;
#pragma unroll
  for (int k = 0; k < 3; ++k) head |= __shfl_up_sync(~0u, cell.low[k], 1) != cell.low[k];
  const unsigned heads = __ballot_sync(~0u, head), later = lane == 31 ? 0u : heads >> (lane + 1);
  const unsigned end = later ? lane + __ffs(later) : 32u;  // the first lane of the next run
#pragma unroll
  for (unsigned step = 1; step < 32; step *= 2) {
    const bool take = lane + step < end;
    if (__ballot_sync(~0u, take) == 0) break;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
#pragma unroll
      for (int f = 0; f < 2; ++f) {
        const float other = __shfl_down_sync(~0u, term[c][f], step);
        if (take) term[c][f] += other;
      }
    }
  }
  std::uint32_t row[8];
  corner_rows<Source::kInside>(level, cell.low, row);
  add_corners(out, any && head, row, term);
}

// Grid: (blocks that share the samples, groups of kScatterLevels levels).
template <bool kSecondOrder, class Source>
__global__ void __launch_bounds__(kScatterBlock)
    scatter_kernel(const HashGrid grid, const float* __restrict__ level_weights, const Source source,
                   float* __restrict__ table) {
  __shared__ FieldLevel levels[kScatterLevels];
  const int first = kScatterLevels * blockIdx.y;
  if (threadIdx.x < kScatterLevels) load_level(grid, level_weights, first + threadIdx.x, levels + threadIdx.x);
  __syncthreads();
  const std::int64_t n = source.count(), stride = static_cast<std::int64_t>(gridDim.x) * kScatterBlock;
  for (std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kScatterBlock; begin < n; begin += stride) {
#pragma unroll 1
    for (int j = 0; j < kScatterLevels; ++j) {
      const FieldLevel level = levels[j];
      if (level.weight == 0.0f) continue;  // also true past the last level
      float* out = table + 2 * static_cast<std::size_t>(level.offset);
      scatter_warp<kSecondOrder>(level, grid.smooth, source, begin + threadIdx.x, n, first + j, out);
    }
  }
}

// `max_samples` is an upper bound on source.count().
template <bool kSecondOrder, class Source>
void scatter_samples(const Launch& launch, const HashGrid& grid, const float* level_weights, std::int64_t max_samples,
                     const Source& source, float* table) {
  int processors = 0;
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, launch.device), "cudaDeviceGetAttribute");
  const unsigned wanted = blocks_for(max_samples, kScatterBlock), resident = 16u * processors;
  const dim3 blocks(wanted < resident ? wanted : resident, (grid.levels + kScatterLevels - 1) / kScatterLevels);
  scatter_kernel<kSecondOrder><<<blocks, kScatterBlock, 0, stream_of(launch)>>>(grid, level_weights, source, table);
  check(cudaGetLastError(), "hash grid scatter");
}

}  // namespace dfast::cuda
