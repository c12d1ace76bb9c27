// What a block of the field's backward pass keeps for its samples, and helpers for the scales of adjoints.
//
// Letters, as in csrc/ops/field.h: h values and hdot = dh/dx u their tangents, o the outputs, obar = dL/do, u = dL/dg,
// d the adjoints of h (first order) and a those of g (second order), q = lane / 4 and r = 0, 1 the lane's samples.
#pragma once

#include "cuda/field/launch.h"
#include "cuda/field/weight_gradients.cuh"

namespace dfast::cuda {

constexpr int kTangentHeadroom = 5;  // a is scaled by at most 2^5 on its way into dW, so it may reach 2000

// Magnitudes are compared as the bits of |v|, which have the order of floats, with NaN above infinity.
__device__ __forceinline__ unsigned magnitude(float v) { return __float_as_uint(v) & 0x7fffffffu; }

// Returns the power of two that brings a magnitude to [1, 2); 1 for zero, infinity and NaN.
__device__ __forceinline__ float scale_for(unsigned bits) {
  const int exponent = static_cast<int>(bits >> 23) - 127;
  if (bits == 0 || exponent == 128) return 1.0f;
  const int shift = -exponent < -120 ? -120 : (-exponent > 120 ? 120 : -exponent);
  return __uint_as_float(static_cast<std::uint32_t>(shift + 127) << 23);
}

// Returns the maximum over the four lanes that share a row.
__device__ __forceinline__ unsigned row_max(unsigned v) {
  v = max(v, __shfl_xor_sync(~0u, v, 1));
  return max(v, __shfl_xor_sync(~0u, v, 2));
}

// Shared memory of a block's samples: activations and tangents of the input and of the hidden layers but the last, and
// the adjoints of one layer.
template <int W, int KT, bool kSecondOrder>
struct Samples {
  using Shape = FieldShape<W, KT>;
  static constexpr int kOrders = kSecondOrder ? 2 : 1;
  static DFAST_HD int halves(int layers) {  // halves that one sample needs
    return kOrders * (Shape::kInStride + layers * Shape::kStride);
  }
  __half* base;
  int rows, layers;
  __device__ __forceinline__ __half* input(int order) const { return base + order * rows * Shape::kInStride; }
  __device__ __forceinline__ __half* hidden(int k, int order) const {  // k = 1 .. layers - 1: after layer k
    return base + kOrders * rows * Shape::kInStride + ((k - 1) * kOrders + order) * rows * Shape::kStride;
  }
  __device__ __forceinline__ __half* adjoint(int order) const { return hidden(layers, order); }
};

// What a thread needs from the first tile to the last.
template <int W, int KT, bool kSecondOrder>
struct BackwardBlock {
  FieldShared shared;
  Samples<W, KT, kSecondOrder> samples;
  Masks masks;  // of this warp's samples
  int layers, lane, warp, lane_in_quad;
};

// A warp's 16 samples of the current tile, in registers. Index [2] counts the lane's samples, kOrders the values (0)
// and their tangents, or the adjoints of first (0) and second order.
template <int W, int KT, bool kSecondOrder>
struct BackwardTile {
  static constexpr int kOrders = kSecondOrder ? 2 : 1;
  float u[2][3] = {};                      // 0.5 dL/dg: per unit of the grid's x
  float tangent_scale[2] = {1.0f, 1.0f};   // power of two by which J u is scaled
  unsigned size[2] = {};                   // magnitude of obar
  unsigned tangent_size[2] = {};           // magnitude of J u
  float obar[4] = {};                      // the lane's part of dL/do
  float row_scale[2] = {1.0f, 1.0f};       // power of two by which d is scaled
  std::uint32_t h[kOrders][W / 16][4];     // activations, later adjoints: an A fragment
  std::uint32_t next[kOrders][W / 16][4];  // the result of a product. (As a local of each phase it costs instructions.)

  // Makes the result of a product the input of the next one.
  __device__ __forceinline__ void advance() {
#pragma unroll
    for (int s = 0; s < kOrders; ++s) {
#pragma unroll
      for (int k = 0; k < W / 16; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) h[s][k][i] = next[s][k][i];
      }
    }
  }
};

}  // namespace dfast::cuda
