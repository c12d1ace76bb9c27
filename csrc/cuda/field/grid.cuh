// A hash grid of two half features, as the fused field reads it.
#pragma once

#include "cuda/mma.cuh"
#include "ops/field.h"

namespace dfast::cuda {

// One level as the kernels read it from shared memory. Row of a vertex: x + y * stride_y + z * stride_z where dense,
// else (x ^ y * stride_y ^ z * stride_z) & mask.
struct alignas(16) FieldLevel {
  float scale, weight;
  std::uint32_t top;  // the last vertex that begins a cell
  std::uint32_t offset;
  std::uint32_t stride_y, stride_z, mask, dense;
};

// Loads level l. Past the last one the weight is 0, which skips the level.
__device__ __forceinline__ void load_level(const HashGrid& grid, const float* weights, int l, FieldLevel* to) {
  FieldLevel level = {};
  if (l < grid.levels) {
    const HashLevel& from = grid.level[l];
    level.scale = static_cast<float>(from.scale);
    level.weight = weights ? weights[l] : 1.0f;
    level.top = from.resolution - 2;
    level.offset = static_cast<std::uint32_t>(from.offset);
    level.stride_y = from.dense ? from.resolution : 2654435761u;
    level.stride_z = from.dense ? from.resolution * from.resolution : 805459861u;
    if (from.depth == 1) level.stride_z = 0;
    level.mask = from.mask;
    level.dense = from.dense;
  }
  *to = level;
}

struct FieldCell {
  float w[3], d[3];      // upper weights, and their slopes in x in [0, 1]
  std::uint32_t low[3];  // lower vertex
};

// Finds the cell of x. With kInside, x is in [0, 1], where the upper vertex always exists. Otherwise the cell is
// clamped as in math/hashgrid.h.
template <bool kInside>
__device__ __forceinline__ FieldCell locate(const FieldLevel& level, bool smooth, const float (&x)[3]) {
  FieldCell cell;
  const std::uint32_t last = kInside ? level.top : level.top + 1;
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    // Added to 2^23 and rounded down, the mantissa is the integer part. A conversion would run at a quarter of the
    // rate.
    const float position = fmaf(x[k], level.scale, 0.5f);
    const float above = kInside ? position : fminf(fmaxf(position, 0.0f), 4194304.0f);  // 0 for NaN
    cell.low[k] = min(__float_as_uint(__fadd_rd(above, 8388608.0f)) & 0x7fffffu, last);
    cell.w[k] = position - (__uint_as_float(cell.low[k] | 0x4b000000u) - 8388608.0f);
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
  return cell;
}

// Rows of the eight corners within the level; bit 0 of the corner is x.
template <bool kInside>
__device__ __forceinline__ void corner_rows(const FieldLevel& level, const std::uint32_t (&low)[3],
                                            std::uint32_t (&row)[8]) {
  const auto upper = [&](int k) { return kInside || low[k] <= level.top ? low[k] + 1 : low[k]; };
  const std::uint32_t x0 = low[0], x1 = upper(0);
  const std::uint32_t y0 = low[1] * level.stride_y, y1 = kInside ? y0 + level.stride_y : upper(1) * level.stride_y;
  const std::uint32_t z0 = low[2] * level.stride_z, z1 = kInside ? z0 + level.stride_z : upper(2) * level.stride_z;
  if (level.dense) {
    const std::uint32_t yz[4] = {y0 + z0, y1 + z0, y0 + z1, y1 + z1};
#pragma unroll
    for (int k = 0; k < 4; ++k) row[2 * k] = x0 + yz[k], row[2 * k + 1] = x1 + yz[k];
  } else {
    const std::uint32_t yz[4] = {y0 ^ z0, y1 ^ z0, y0 ^ z1, y1 ^ z1};
#pragma unroll
    for (int k = 0; k < 4; ++k) row[2 * k] = (x0 ^ yz[k]) & level.mask, row[2 * k + 1] = (x1 ^ yz[k]) & level.mask;
  }
}

// Reads the eight corners' pairs of halves with one load each. Neighbours along x mostly share a sector, which the
// cache coalesces; wider loads take more of its cycles.
template <bool kInside>
__device__ __forceinline__ void read_corners(const std::uint32_t* __restrict__ table_half, const FieldLevel& level,
                                             const FieldCell& cell, std::uint32_t (&value)[8]) {
  std::uint32_t row[8];
  corner_rows<kInside>(level, cell.low, row);
#pragma unroll
  for (int c = 0; c < 8; ++c) value[c] = __ldg(table_half + level.offset + row[c]);
}

// Computes the value and, with kSlopes, the slopes along the axes (per unit of the weights) of two features by one tree
// of linear interpolations.
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

}  // namespace dfast::cuda
