// Weight gradients of the fused field. A block's warps share dW_k = left^T right over the block's samples: each warp
// owns some tiles of the matrix and keeps them in registers until the last sample. Then blocks write their parts, which
// are added in a fixed order.
#pragma once

#include "cuda/field/mlp.cuh"

namespace dfast::cuda {

// How a block's warps share the weight gradient [W, in]: kRows x kColumns warps, each with some tiles of 16 x 8.
template <int W>
struct Split {
  static constexpr int kWarps = W == 128 ? 8 : 4;
  static constexpr int kRows = W == 128 ? 4 : W == 16 ? 1 : 2;
  static constexpr int kColumns = kWarps / kRows;
  static constexpr int kRowTiles = W / 16 / kRows;
  static constexpr int column_tiles(int in) { return (in / 8 + kColumns - 1) / kColumns; }
};

template <int W, int IN>
struct Sums {
  float weight[Split<W>::kRowTiles][Split<W>::column_tiles(IN)][4] = {};
  float bias[4] = {};  // bias gradient of the row tile with the number of the warp's column
};

#if DFAST_TENSOR_CORES

// Stores the tiles of an A fragment as rows of shared memory.
template <int K>
__device__ __forceinline__ void store_rows(const std::uint32_t (&a)[K][4], __half* rows, int stride) {
  const int lane = threadIdx.x & 31;
  std::uint32_t* to = reinterpret_cast<std::uint32_t*>(rows + (lane >> 2) * stride + 2 * (lane & 3));
#pragma unroll
  for (int k = 0; k < K; ++k) {
    to[8 * k] = a[k][0], to[8 * k + 4 * stride] = a[k][1];
    to[8 * k + 4] = a[k][2], to[8 * k + 4 * stride + 4] = a[k][3];
  }
}

__device__ __forceinline__ std::uint32_t times(std::uint32_t pair, __half2 factor) {
  const __half2 value = __hmul2(*reinterpret_cast<const __half2*>(&pair), factor);
  return *reinterpret_cast<const std::uint32_t*>(&value);
}

// Stores the tiles of an A fragment, each of the lane's rows times its factor.
template <int K>
__device__ __forceinline__ void store_scaled(const std::uint32_t (&a)[K][4], const float (&factor)[2], __half* rows,
                                             int stride) {
  const __half2 f0 = __float2half2_rn(factor[0]), f1 = __float2half2_rn(factor[1]);
  std::uint32_t scaled[K][4];
#pragma unroll
  for (int k = 0; k < K; ++k) {
    scaled[k][0] = times(a[k][0], f0), scaled[k][1] = times(a[k][1], f1);
    scaled[k][2] = times(a[k][2], f0), scaled[k][3] = times(a[k][3], f1);
  }
  store_rows(scaled, rows, stride);
}

// Adds left^T right over `rows` samples to the sums; left [rows, W], right [rows, IN]. With kBias, it also sums the
// columns of left for the bias.
template <int W, int IN, bool kBias>
__device__ __forceinline__ void outer(Sums<W, IN>& sums, const __half* left, int left_stride, const __half* right,
                                      int right_stride, int rows) {
  using S = Split<W>;
  constexpr int kTiles = S::column_tiles(IN);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int row_warp = warp / S::kColumns, column_warp = warp % S::kColumns;
  const __half* a_row =
      left + ((lane & 7) + (lane >> 4) * 8) * left_stride + 16 * S::kRowTiles * row_warp + ((lane >> 3) & 1) * 8;
  const __half* b_row = right + ((lane & 7) + ((lane >> 3) & 1) * 8) * right_stride + 8 * kTiles * column_warp;
  const std::uint32_t ones = lane < 4 ? 0x3c003c00u : 0u;  // B with ones in column 0
  if (kTiles * column_warp >= IN / 8) return;              // there are more warps than tiles
#pragma unroll 1
  for (int s = 0; s < rows; s += 16) {
    std::uint32_t a[S::kRowTiles][4];
#pragma unroll
    for (int m = 0; m < S::kRowTiles; ++m) load_matrices<true>(a[m], a_row + s * left_stride + 16 * m);
    if constexpr (kBias) {
#pragma unroll
      for (int m = 0; m < S::kRowTiles; ++m) {
        if (m == column_warp) multiply_add(sums.bias, a[m], ones, ones);
      }
    }
    if constexpr (kTiles % 2 == 0) {
#pragma unroll
      for (int t = 0; t < kTiles; t += 2) {
        std::uint32_t b[4];
        load_matrices<true>(b, b_row + s * right_stride + 8 * t + (lane >> 4) * 8);
#pragma unroll
        for (int m = 0; m < S::kRowTiles; ++m) {
          multiply_add(sums.weight[m][t], a[m], b[0], b[1]);
          multiply_add(sums.weight[m][t + 1], a[m], b[2], b[3]);
        }
      }
    } else {
      static_assert(kTiles % 2 == 0 || kTiles == 1, "");
      std::uint32_t b[2];
      load_matrices<true>(b, b_row + s * right_stride);
#pragma unroll
      for (int m = 0; m < S::kRowTiles; ++m) multiply_add(sums.weight[m][0], a[m], b[0], b[1]);
    }
  }
}

template <int W, int IN>
__device__ __forceinline__ void rescale(Sums<W, IN>& sums, float factor) {
#pragma unroll
  for (auto& row : sums.weight) {
#pragma unroll
    for (auto& tile : row) {
#pragma unroll
      for (float& v : tile) v *= factor;
    }
  }
#pragma unroll
  for (float& v : sums.bias) v *= factor;
}

// Writes a warp's part of dW_k and db_k, in units of `unit`.
template <int W, int IN>
__device__ __forceinline__ void write_sums(const Sums<W, IN>& sums, const FieldLayer& layer, float unit, float* out) {
  using S = Split<W>;
  constexpr int kTiles = S::column_tiles(IN);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int row_warp = warp / S::kColumns, column_warp = warp % S::kColumns;
  if (kTiles * column_warp >= IN / 8) return;
#pragma unroll
  for (int m = 0; m < S::kRowTiles; ++m) {
    const int row = 16 * (S::kRowTiles * row_warp + m) + (lane >> 2);
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const int column = 8 * (kTiles * column_warp + t) + 2 * (lane & 3);
      if (column >= layer.in) continue;
      const float* c = sums.weight[m][t];
      float* to = out + layer.weight + row * layer.in + column;
      *reinterpret_cast<float2*>(to) = make_float2(c[0] * unit, c[1] * unit);
      *reinterpret_cast<float2*>(to + 8 * layer.in) = make_float2(c[2] * unit, c[3] * unit);
    }
    if (m == column_warp && (lane & 3) == 0) {
      out[layer.bias + row] = sums.bias[0] * unit, out[layer.bias + row + 8] = sums.bias[2] * unit;
    }
  }
}

#endif

constexpr int kSumColumns = 32, kSumRows = 8;

// Adds the blocks' parts to sum [P] in the order of the blocks.
static __global__ void __launch_bounds__(kSumColumns* kSumRows)
    add_parts_kernel(const float* __restrict__ partial, int blocks, int parameters, float* __restrict__ sum) {
  __shared__ float rows[kSumRows][kSumColumns];
  const int column = blockIdx.x * kSumColumns + threadIdx.x;
  float total = 0.0f;
  if (column < parameters) {
#pragma unroll 8
    for (int b = threadIdx.y; b < blocks; b += kSumRows)
      total += partial[static_cast<std::size_t>(b) * parameters + column];
  }
  rows[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || column >= parameters) return;
#pragma unroll
  for (int r = 1; r < kSumRows; ++r) total += rows[r][threadIdx.x];
  sum[column] += total;
}

}  // namespace dfast::cuda
