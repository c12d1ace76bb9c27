// Adding to a hash grid's gradient, two float features a row.
//
// What bounds it is the number of reductions, whatever their width: about 100 G/s on an H200, and half of that when the
// rows do not stay in L2. Hence: level after level, so that one level's rows do; neighbours along x in one 16-byte
// reduction where they are aligned; and a thread walks along eight samples, neighbours on a ray, and adds up those that
// fall into one cell, which is most of them on coarse levels.
#pragma once

#include "cuda/field_grid.cuh"
#include "cuda/launch.h"

// float2 and float4 atomicAdd need sm_90 (and are not even declared below it).
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define DFAST_VECTOR_ATOMICS true
#else
#define DFAST_VECTOR_ATOMICS false
#endif

namespace dfast::cuda {

constexpr int kScatterBlock = 128;
constexpr int kScatterRun = 8;  // samples a thread

// Two rows' worth of gradient, in as few reductions as the hardware and the layout allow.
__device__ __forceinline__ void add_rows(float* __restrict__ out, std::uint32_t r0, std::uint32_t r1,
                                         const float (&v0)[2], const float (&v1)[2]) {
#if DFAST_VECTOR_ATOMICS
  if ((r0 ^ r1) == 1u) {
    const bool swap = r0 & 1u;
    atomicAdd(reinterpret_cast<float4*>(out) + (r0 >> 1),
              swap ? make_float4(v1[0], v1[1], v0[0], v0[1]) : make_float4(v0[0], v0[1], v1[0], v1[1]));
  } else {
    atomicAdd(reinterpret_cast<float2*>(out) + r0, make_float2(v0[0], v0[1]));
    atomicAdd(reinterpret_cast<float2*>(out) + r1, make_float2(v1[0], v1[1]));
  }
#else
#pragma unroll
  for (int f = 0; f < 2; ++f) {
    atomicAdd(out + 2 * static_cast<std::size_t>(r0) + f, v0[f]);
    atomicAdd(out + 2 * static_cast<std::size_t>(r1) + f, v1[f]);
  }
#endif
}

// What one sample adds to its cell's corners, w_c d + (u . grad w_c) a, axis by axis: carrying (d, a) through one axis,
// (w_k d + u_k w_k' a, w_k a) at the upper vertex.
template <bool kSecond>
__device__ __forceinline__ void corner_terms(const FieldCell& cell, float weight, const float (&u)[3],
                                             const float (&d)[2], const float (&a)[2], float (&term)[8][2]) {
#pragma unroll
  for (int f = 0; f < 2; ++f) {
    float p[8], q[8];
    p[0] = weight * d[f], q[0] = kSecond ? weight * a[f] : 0.0f;
#pragma unroll
    for (int k = 2; k >= 0; --k) {  // z, y, x: the last axis ends up in bit 0
      const float w1 = cell.w[k], w0 = 1.0f - w1, slope = kSecond ? u[k] * cell.d[k] : 0.0f;
#pragma unroll
      for (int i = (4 >> k) - 1; i >= 0; --i) {
        const float p1 = w1 * p[i] + (kSecond ? slope * q[i] : 0.0f), p0 = w0 * p[i] - (kSecond ? slope * q[i] : 0.0f);
        p[2 * i + 1] = p1, p[2 * i] = p0;
        if (kSecond && k > 0) {
          const float q1 = w1 * q[i], q0 = w0 * q[i];
          q[2 * i + 1] = q1, q[2 * i] = q0;
        }
      }
    }
#pragma unroll
    for (int c = 0; c < 8; ++c) term[c][f] = p[c];
  }
}

// Source says where points and adjoints come from: point(i, x) (in [0, 1] if kInside), adjoint(i, l, d), and with
// kSecond u(i, u) and second(i, l, a). Grid: (runs of samples, levels).
template <bool kSecond, class Source>
__global__ void __launch_bounds__(kScatterBlock)
    scatter_runs_kernel(const HashGrid grid, const float* __restrict__ level_weights, const Source source,
                        float* __restrict__ table) {
  __shared__ FieldLevel shared_level;
  load_level(grid, level_weights, blockIdx.y, threadIdx.x == 0 ? &shared_level : nullptr);
  __syncthreads();
  const FieldLevel level = shared_level;
  if (level.weight == 0.0f) return;
  float* out = table + 2 * static_cast<std::size_t>(level.offset);
  const std::int64_t n = source.count();
  std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kScatterBlock + threadIdx.x) * kScatterRun;
  const std::int64_t end = i + kScatterRun < n ? i + kScatterRun : n;

  const auto flush = [&](const std::uint32_t (&low)[3], const float (&sum)[8][2]) {
    std::uint32_t row[8];
    corner_rows<Source::kInside>(level, low, row);
#pragma unroll
    for (int c = 0; c < 8; c += 2) add_rows(out, row[c], row[c + 1], sum[c], sum[c + 1]);
  };
  std::uint32_t low[3];
  float sum[8][2];
  bool open = false;
  for (; i < end; ++i) {
    float x[3], u[3] = {}, d[2], a[2] = {};
    source.adjoint(i, blockIdx.y, d);
    bool any = d[0] != 0.0f || d[1] != 0.0f;
    if constexpr (kSecond) {
      source.direction(i, u);
      source.second(i, blockIdx.y, a);
      any |= u[0] != 0.0f || u[1] != 0.0f || u[2] != 0.0f;
    }
    if (!any) continue;  // most samples of a picture: hidden, or in empty space
    source.point(i, x);
    const FieldCell cell = locate<Source::kInside>(level, grid.smooth, x);
    float term[8][2];
    corner_terms<kSecond>(cell, level.weight, u, d, a, term);
    const bool same = open && cell.low[0] == low[0] && cell.low[1] == low[1] && cell.low[2] == low[2];
    if (!same) {
      if (open) flush(low, sum);
      open = true;
#pragma unroll
      for (int k = 0; k < 3; ++k) low[k] = cell.low[k];
    }
#pragma unroll
    for (int c = 0; c < 8; ++c) {
#pragma unroll
      for (int f = 0; f < 2; ++f) sum[c][f] = same ? sum[c][f] + term[c][f] : term[c][f];
    }
  }
  if (open) flush(low, sum);
}

// `most`: samples there can be.
template <bool kSecond, class Source>
void scatter_runs(const Launch& launch, const HashGrid& grid, const float* level_weights, std::int64_t most,
                  const Source& source, float* table) {
  const dim3 blocks(blocks_for(most, kScatterBlock * kScatterRun), grid.levels);
  scatter_runs_kernel<kSecond><<<blocks, kScatterBlock, 0, stream_of(launch)>>>(grid, level_weights, source, table);
  check(cudaGetLastError(), "hash grid scatter");
}

}  // namespace dfast::cuda
