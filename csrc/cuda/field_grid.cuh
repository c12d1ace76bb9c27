// The hash grid inside the fused field: a lane owns two samples and every fourth level, which is exactly how the A
// fragment of the first layer's product wants its numbers when a level has two features.
#pragma once

#include "cuda/mma.cuh"
#include "ops/field.h"

// float2 and float4 atomicAdd need sm_90 (and are not even declared below it).
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define DFAST_VECTOR_ATOMICS true
#else
#define DFAST_VECTOR_ATOMICS false
#endif

namespace dfast::cuda {

// One level as the kernels read it from shared memory. Row of a vertex: x + y * stride_y + z * stride_z where dense,
// else (x ^ y * stride_y ^ z * stride_z) & mask.
struct alignas(16) FieldLevel {
  float scale, weight;
  std::uint32_t top;  // the last vertex that begins a cell
  std::uint32_t offset;
  std::uint32_t stride_y, stride_z, mask, dense;
};

__device__ __forceinline__ void load_levels(const HashGrid& grid, const float* weights, int count, FieldLevel* to) {
  for (int l = threadIdx.x; l < count; l += blockDim.x) {
    FieldLevel level = {};  // past the last level: weight 0, skipped
    if (l < grid.levels) {
      const HashLevel& from = grid.level[l];
      level.scale = static_cast<float>(from.scale);
      level.weight = weights ? weights[l] : 1.0f;
      level.top = from.resolution - 2;
      level.offset = static_cast<std::uint32_t>(from.offset);
      level.stride_y = from.dense ? from.resolution : 2654435761u;
      level.stride_z = from.dense ? from.resolution * from.resolution : 805459861u;
      level.mask = from.mask;
      level.dense = from.dense;
    }
    to[l] = level;
  }
}

struct FieldCell {
  float w[3], d[3];      // upper weights, and their slopes in x in [0, 1]
  std::uint32_t low[3];  // lower vertex
  std::uint32_t row[8];  // within the level; bit 0 of the corner is x
};

// x in [0, 1]: then the upper vertex exists in every level. NaN reads the last cell, and stays NaN in the weights.
__device__ __forceinline__ FieldCell locate(const FieldLevel& level, bool smooth, const float (&x)[3]) {
  FieldCell cell;
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    // Rounded down at a scale of 1, the mantissa is the integer part: no conversion, which would run at a quarter rate.
    const float position = fmaf(x[k], level.scale, 0.5f), shifted = __fadd_rd(position, 8388608.0f);
    cell.low[k] = min(__float_as_uint(shifted) & 0x7fffffu, level.top);
    cell.w[k] = position - (shifted - 8388608.0f);
    cell.d[k] = level.scale;
  }
  if (smooth) {
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      const float f = cell.w[k];
      cell.w[k] = f * f * (3.0f - 2.0f * f);
      cell.d[k] = level.scale * 6.0f * f * (1.0f - f);
    }
  }
  const std::uint32_t x0 = cell.low[0], y0 = cell.low[1] * level.stride_y, y1 = y0 + level.stride_y,
                      z0 = cell.low[2] * level.stride_z, z1 = z0 + level.stride_z;
  if (level.dense) {
    const std::uint32_t yz[4] = {y0 + z0, y1 + z0, y0 + z1, y1 + z1};
#pragma unroll
    for (int k = 0; k < 4; ++k) cell.row[2 * k] = x0 + yz[k], cell.row[2 * k + 1] = x0 + yz[k] + 1;
  } else {
    const std::uint32_t yz[4] = {y0 ^ z0, y1 ^ z0, y0 ^ z1, y1 ^ z1};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      cell.row[2 * k] = (x0 ^ yz[k]) & level.mask, cell.row[2 * k + 1] = ((x0 + 1) ^ yz[k]) & level.mask;
    }
  }
  return cell;
}

// The eight corners' half pairs. Neighbours along x share an aligned pair of rows every second time: one read.
__device__ __forceinline__ void read_corners(const std::uint32_t* __restrict__ rows, const std::uint32_t (&row)[8],
                                             std::uint32_t (&value)[8]) {
#pragma unroll
  for (int c = 0; c < 8; c += 2) {
    const std::uint32_t r0 = row[c], r1 = row[c + 1];
    const uint2 pair = __ldg(reinterpret_cast<const uint2*>(rows) + (r0 >> 1));
    value[c] = r0 & 1u ? pair.y : pair.x;
    value[c + 1] = r0 & 1u ? pair.x : pair.y;
    if ((r0 ^ r1) != 1u) value[c + 1] = __ldg(rows + r1);
  }
}

// Value and, if asked for, slopes along the axes (per unit of the weights) of the two features, from one lerp tree.
template <bool kSlopes>
__device__ __forceinline__ void interpolate(const std::uint32_t (&corner)[8], const float (&w)[3], float (&value)[2],
                                            float (&slope)[3][2]) {
  float s[8][2];
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    const float2 v = unpack_half(corner[c]);
    s[c][0] = v.x, s[c][1] = v.y;
  }
#pragma unroll
  for (int f = 0; f < 2; ++f) {
    float x[4], v[4];  // by (y, z): slope along x, value
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      x[k] = s[2 * k + 1][f] - s[2 * k][f];
      v[k] = s[2 * k][f] + w[0] * x[k];
    }
    const float y0 = v[1] - v[0], y1 = v[3] - v[2];
    const float v0 = v[0] + w[1] * y0, v1 = v[2] + w[1] * y1;
    value[f] = v0 + w[2] * (v1 - v0);
    if constexpr (kSlopes) {
      const float x0 = x[0] + w[1] * (x[1] - x[0]), x1 = x[2] + w[1] * (x[3] - x[2]);
      slope[0][f] = x0 + w[2] * (x1 - x0);
      slope[1][f] = y0 + w[2] * (y1 - y0);
      slope[2][f] = v1 - v0;
    }
  }
}

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

// Most samples of a picture have no gradient at all (hidden, or empty space).
__device__ __forceinline__ void add_cell(float* __restrict__ out, const FieldCell& cell, const float (&term)[8][2]) {
  bool any = false;
#pragma unroll
  for (int c = 0; c < 8; ++c) any |= term[c][0] != 0.0f || term[c][1] != 0.0f;
  if (!any) return;
#pragma unroll
  for (int c = 0; c < 8; c += 2) add_rows(out, cell.row[c], cell.row[c + 1], term[c], term[c + 1]);
}

__device__ __forceinline__ bool same_cell(const FieldCell& a, const FieldCell& b) {
  return a.low[0] == b.low[0] && a.low[1] == b.low[1] && a.low[2] == b.low[2];
}

// Adds the terms of a lane's two samples (neighbours along a ray). Runs of samples in one cell, which is most of them
// on coarse levels, are summed first: the lane's pair, then lanes q, q + 1, ... of the same p. All lanes of the warp
// call this together.
template <bool kSecond>
__device__ __forceinline__ void scatter(float* __restrict__ table, const FieldLevel& level, bool smooth,
                                        const float (&x)[2][3], const float (&u)[2][3], const float (&d)[2][2],
                                        const float (&a)[2][2]) {
  const int lane = threadIdx.x & 31;
  float* out = table + 2 * static_cast<std::size_t>(level.offset);
  const FieldCell first = locate(level, smooth, x[0]);
  float term[8][2];
  corner_terms<kSecond>(first, level.weight, u[0], d[0], a[0], term);
  bool pair;  // both samples are in this cell
  {
    const FieldCell second = locate(level, smooth, x[1]);
    float other[8][2];
    corner_terms<kSecond>(second, level.weight, u[1], d[1], a[1], other);
    pair = same_cell(first, second);
    if (pair) {
#pragma unroll
      for (int c = 0; c < 8; ++c) term[c][0] += other[c][0], term[c][1] += other[c][1];
    } else {
      add_cell(out, second, other);
    }
  }
  // A lane heads a run unless the lane before it is all one cell, and the same.
  bool follows = __shfl_up_sync(~0u, static_cast<int>(pair), 4) != 0;
#pragma unroll
  for (int k = 0; k < 3; ++k) follows &= __shfl_up_sync(~0u, first.low[k], 4) == first.low[k];
  const bool head = lane < 4 || !follows;
  const unsigned heads = __ballot_sync(~0u, head);
  if (heads != ~0u) {
    const unsigned later = lane >= 28 ? 0u : (heads >> (lane + 4)) & 0x11111111u;
    const int end = later ? lane + 4 + __ffs(later) - 1 : 32;  // the first lane of the next run
#pragma unroll
    for (int step = 4; step < 32; step *= 2) {
      const bool take = lane + step < end;
#pragma unroll
      for (int c = 0; c < 8; ++c) {
#pragma unroll
        for (int f = 0; f < 2; ++f) {
          const float other = __shfl_down_sync(~0u, term[c][f], step);
          if (take) term[c][f] += other;
        }
      }
    }
  }
  if (head) add_cell(out, first, term);
}

}  // namespace dfast::cuda
