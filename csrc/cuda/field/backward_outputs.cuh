// The second phase of the field's backward pass: adjoints at the outputs, and the scales that half precision needs.
#pragma once

#include "cuda/field/backward_tile.cuh"

namespace dfast::cuda {

#if DFAST_TENSOR_CORES

// Computes obar = dL/do of the lane's samples from their outputs o and the gradients of density and albedo. (Computing
// o in here costs more spills.)
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void output_adjoints(const FieldArgs& p, const BackwardBlock<W, KT, kSecondOrder>& block,
                                                const FieldPoints& points, const float (&o)[4],
                                                BackwardTile<W, KT, kSecondOrder>& tile) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (!points.valid[r]) continue;
    const std::int64_t i = points.index[r];
    if (block.lane_in_quad == 0) {
      float slope;
      const float s = o[2 * r] + static_cast<float>(p.net.head.bias) + blob_of<float>(p.net.head, points.x[r], nullptr);
      density_of(p.net.head, s, &slope);
      const float albedo = sigmoid(o[2 * r + 1]);
      tile.obar[2 * r] = p.d_density ? p.d_density[i] * slope : 0.0f;
      tile.obar[2 * r + 1] = p.d_albedo ? p.d_albedo[3 * i] * (albedo * (1.0f - albedo)) : 0.0f;
    } else if (block.lane_in_quad == 1 && p.d_albedo) {
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const float albedo = sigmoid(o[2 * r + k]);
        tile.obar[2 * r + k] = p.d_albedo[3 * i + 1 + k] * (albedo * (1.0f - albedo));
      }
    }
  }
}

// Sets each sample's scale and returns the largest magnitude of the warp's samples, which decides the block's scale.
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ unsigned scale_adjoints(BackwardTile<W, KT, kSecondOrder>& tile) {
  unsigned largest = 0;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    tile.size[r] = row_max(max(magnitude(tile.obar[2 * r]), magnitude(tile.obar[2 * r + 1])));
    tile.row_scale[r] = scale_for(tile.size[r]);
    largest = max(largest, tile.size[r]);
    if (tile.tangent_size[r]) {
      largest = max(largest, magnitude(1.0f / (tile.tangent_scale[r] * (1 << kTangentHeadroom))));
    }
    // Where J u is zero, a_0 contributes to the table all the same.
    if (tile.u[r][0] != 0.0f || tile.u[r][1] != 0.0f || tile.u[r][2] != 0.0f) largest = max(largest, 1u);
  }
  for (int step = 4; step < 32; step *= 2) largest = max(largest, __shfl_xor_sync(~0u, largest, step));
  return largest;
}

// Adds dW_{H+1} = h_H^T obar + hdot_H^T e_0 of the warp's own samples to `sums`. to_common and tangent_to_common bring
// obar and hdot to the block's scale.
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void last_layer_gradient(const BackwardBlock<W, KT, kSecondOrder>& block,
                                                    const BackwardTile<W, KT, kSecondOrder>& tile, float common,
                                                    const float (&tangent_to_common)[2], float (&sums)[W / 16][4]) {
  constexpr int S = BackwardTile<W, KT, kSecondOrder>::kOrders;
  const float (&obar)[4] = tile.obar;
  const std::uint32_t b0 = transpose_matrix(pack_half(obar[0] * common, obar[1] * common));
  const std::uint32_t b1 = transpose_matrix(pack_half(obar[2] * common, obar[3] * common));
#pragma unroll
  for (int k = 0; k < W / 16; ++k) {
    std::uint32_t t[4];  // h^T: rows are features
    t[0] = transpose_matrix(tile.h[0][k][0]), t[1] = transpose_matrix(tile.h[0][k][2]);
    t[2] = transpose_matrix(tile.h[0][k][1]), t[3] = transpose_matrix(tile.h[0][k][3]);
    multiply_add(sums[k], t, b0, b1);
  }
  if constexpr (kSecondOrder) {
    const float z0 = block.lane_in_quad == 0 ? tangent_to_common[0] : 0.0f;
    const float z1 = block.lane_in_quad == 0 ? tangent_to_common[1] : 0.0f;
    const std::uint32_t c0 = transpose_matrix(pack_half(z0, 0.0f)), c1 = transpose_matrix(pack_half(z1, 0.0f));
#pragma unroll
    for (int k = 0; k < W / 16; ++k) {
      std::uint32_t t[4];
      t[0] = transpose_matrix(tile.h[S - 1][k][0]), t[1] = transpose_matrix(tile.h[S - 1][k][2]);
      t[2] = transpose_matrix(tile.h[S - 1][k][1]), t[3] = transpose_matrix(tile.h[S - 1][k][3]);
      multiply_add(sums[k], t, c0, c1);
    }
  }
}

#endif

}  // namespace dfast::cuda
