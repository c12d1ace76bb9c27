// The third phase of the field's backward pass: adjoints through the hidden layers, weight gradients, and what is left
// for the scatter into the table.
#pragma once

#include "cuda/field/backward_tile.cuh"

namespace dfast::cuda {

#if DFAST_TENSOR_CORES

// Stores the adjoints of the current layer at the block's scale, for the weight gradients.
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void store_adjoints(const BackwardBlock<W, KT, kSecondOrder>& block,
                                               const BackwardTile<W, KT, kSecondOrder>& tile,
                                               const float (&to_common)[2], const float (&tangent_to_common)[2]) {
  using Shape = FieldShape<W, KT>;
  constexpr int S = BackwardTile<W, KT, kSecondOrder>::kOrders;
  const int row0 = 16 * block.warp;
  store_scaled(tile.h[0], to_common, block.samples.adjoint(0) + row0 * Shape::kStride, Shape::kStride);
  if constexpr (kSecondOrder) {
    store_scaled(tile.h[S - 1], tangent_to_common, block.samples.adjoint(1) + row0 * Shape::kStride, Shape::kStride);
  }
}

// Adds dW_k = d_k h_{k-1}^T + a_k hdot_{k-1}^T of a hidden layer whose input has kIn columns.
template <int kIn, int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void add_weight_gradient(Sums<W, kIn>& sums, const Samples<W, KT, kSecondOrder>& samples,
                                                    const __half* values, const __half* tangents, int stride) {
  constexpr int kStride = FieldShape<W, KT>::kStride;
  outer<W, kIn, true>(sums, samples.adjoint(0), kStride, values, stride, samples.rows);
  if constexpr (kSecondOrder) {
    outer<W, kIn, false>(sums, samples.adjoint(1), kStride, tangents, stride, samples.rows);
  }
}

// Multiplies the adjoints by W_k^T and the masks of layer k - 1.
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void pull_adjoints(const BackwardBlock<W, KT, kSecondOrder>& block, int layer,
                                              BackwardTile<W, KT, kSecondOrder>& tile) {
  using Shape = FieldShape<W, KT>;
  constexpr int S = BackwardTile<W, KT, kSecondOrder>::kOrders;
  multiply<true, S, W / 16, W / 8>(
      tile.h, block.shared.weights + Shape::middle(layer), Shape::kStride,
      [](int, int, float (&c)[4]) { start_at_zero(c); },
      [&](int s, int t, float (&c)[4]) {
        mask(c, block.masks.word(layer - 1, t) >> (4 * (t % 8)));
        put(tile.next[s], t, c);
      });
  tile.advance();
}

// Writes d_0, a_0 and the samples' scales for the scatter. `first` is the warp's first sample in this launch. The
// adjoints of a level are with the lane that gathered it.
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void write_input_adjoints(const FieldArgs& p,
                                                     const BackwardBlock<W, KT, kSecondOrder>& block,
                                                     const BackwardTile<W, KT, kSecondOrder>& tile,
                                                     std::int64_t first) {
  const std::int64_t at = first + 2 * (block.lane >> 2);
  using Shape = FieldShape<W, KT>;
  constexpr int S = BackwardTile<W, KT, kSecondOrder>::kOrders;
  if (block.lane_in_quad == 0) {
    *reinterpret_cast<float2*>(p.adjoints.unit + at) = make_float2(1.0f / tile.row_scale[0], 1.0f / tile.row_scale[1]);
  }
  multiply<true, S, W / 16, 2 * KT>(
      tile.h, block.shared.weights, Shape::kInStride, [](int, int, float (&c)[4]) { start_at_zero(c); },
      [&](int s, int j, float (&c)[4]) {
        const int level = 4 * j + block.lane_in_quad;
        if (level >= p.net.grid.levels) return;
        std::uint32_t* to = (s == 0 ? p.adjoints.d : p.adjoints.a) + level * p.adjoints.pitch + at;
        __stcs(reinterpret_cast<uint2*>(to), make_uint2(pack_half(c[0], c[1]), pack_half(c[2], c[3])));
      });
}

// Writes zero adjoints for a tile without any gradient.
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void write_zero_adjoints(const FieldArgs& p, const BackwardBlock<W, KT, kSecondOrder>& block,
                                                    std::int64_t first) {
  const std::int64_t at = first + 2 * (block.lane >> 2);
  for (int level = block.lane_in_quad; level < p.net.grid.levels; level += 4) {
    *reinterpret_cast<uint2*>(p.adjoints.d + level * p.adjoints.pitch + at) = make_uint2(0, 0);
    if (kSecondOrder) *reinterpret_cast<uint2*>(p.adjoints.a + level * p.adjoints.pitch + at) = make_uint2(0, 0);
  }
  if (block.lane_in_quad == 0) *reinterpret_cast<float2*>(p.adjoints.unit + at) = make_float2(1.0f, 1.0f);
}

// Adds up the warps' parts of the last layer's gradient in shared memory, one warp after the other, and writes them in
// units of `unit`.
template <int W>
__device__ __forceinline__ void write_last_layer(const float (&sums)[W / 16][4], float (&bias)[2], float unit,
                                                 const FieldLayer& layer, float* shared, float* out) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, lane_in_quad = lane & 3;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    for (int step = 4; step < 32; step *= 2) bias[i] += __shfl_xor_sync(~0u, bias[i], step);
  }
#pragma unroll 1
  for (int turn = 0; turn < Split<W>::kWarps; ++turn) {
    __syncthreads();
    if (warp != turn) continue;
    const auto add = [&](int at, float v) { shared[at] = (turn == 0 ? 0.0f : shared[at]) + v; };
    if (lane_in_quad < 2) {
#pragma unroll
      for (int k = 0; k < W / 16; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          add((2 * lane_in_quad + (i & 1)) * W + 16 * k + (lane >> 2) + 8 * (i >> 1), sums[k][i] * unit);
        }
      }
    }
    if (lane < 2) add(kFieldOutputs * W + 2 * lane, bias[0]), add(kFieldOutputs * W + 2 * lane + 1, bias[1]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kFieldOutputs * (W + 1); i += blockDim.x) out[layer.weight + i] = shared[i];
}

#endif

}  // namespace dfast::cuda
