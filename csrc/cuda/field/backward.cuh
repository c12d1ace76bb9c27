// The field's backward pass: recompute, adjoints of both orders, weight gradients in registers. The scatter into the
// table follows in a kernel of its own.
//
// Work of a block. A warp recomputes 16 samples (values h and tangents hdot share every weight that is read), computes
// the adjoints at the outputs and multiplies the adjoints d and a back through the layers. The block's warps then form
// dW_k = d_k h_{k-1}^T + a_k hdot_{k-1}^T together: activations and adjoints pass through shared memory, and each warp
// owns a part of dW_k, which stays in registers until the last tile.
//
// Scales. Adjoints span many magnitudes, halves do not. d and hdot are linear in obar and u, so each sample carries
// them scaled by its own power of two. Only the copies that enter dW are brought to the block's common scale, which
// follows the largest sample so far. A new largest sample rescales the sums, exactly.
#pragma once

#include "cuda/field/backward_layers.cuh"
#include "cuda/field/backward_outputs.cuh"
#include "cuda/field/backward_recompute.cuh"

namespace dfast::cuda {

// kMiddle: hidden-to-hidden matrices whose sums are kept, 1 (also for none) or 2.
template <int W, int KT, bool kSecondOrder, int kMiddle>
__global__ void __launch_bounds__(32 * Split<W>::kWarps, W == 128  ? 1
                                                         : W == 64 ? 3
                                                                   : 4) backward_kernel(const FieldArgs p, int rows) {
#if DFAST_TENSOR_CORES
  using Shape = FieldShape<W, KT>;
  constexpr int kOrders = kSecondOrder ? 2 : 1;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ unsigned largest[2];  // magnitude of obar in the tile; consecutive tiles alternate
  const int layers = p.net.layers, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  BackwardBlock<W, KT, kSecondOrder> block;
  block.layers = layers, block.lane = lane, block.warp = warp, block.lane_in_quad = lane & 3;
  block.shared = load_net<W, KT, false>(p, memory);
  block.samples = {reinterpret_cast<__half*>(memory + Shape::bytes(layers, false)), rows, layers};
  const Samples<W, KT, kSecondOrder>& samples = block.samples;
  const int working = rows / 16;  // warps that carry samples
  block.masks = {reinterpret_cast<std::uint32_t*>(samples.base + rows * Samples<W, KT, kSecondOrder>::halves(layers)) +
                     warp * (layers * Shape::kMaskWords * 32) + lane,
                 Shape::kMaskWords};
  if (threadIdx.x < 2) largest[threadIdx.x] = 0;
  __syncthreads();

  Sums<W, Shape::kIn> first_sums;
  Sums<W, W> middle_sums[kMiddle];
  float last_sums[W / 16][4] = {}, last_bias[2] = {};
  float common = 0.0f;  // the block's scale; 0 until a sample has a gradient

  const std::int64_t all = points_of(p), n = all < p.first + p.max_points ? all : p.first + p.max_points;
  const std::int64_t tiles = (n + rows - 1) / rows;
  int parity = 0;
  for (std::int64_t tile = p.first / rows + blockIdx.x; tile < tiles; tile += gridDim.x, parity ^= 1) {
    const bool works = warp < working;
    const int row0 = 16 * warp;  // this warp's first row in the block's arrays
    const FieldPoints points(p, n, tile * working + (works ? warp : 0));
    BackwardTile<W, KT, kSecondOrder> own;

    // ---- Recompute values and tangents, then the adjoints at the outputs. Each warp works on its own samples, and
    // stores the inputs of all products in shared memory.
    if (works) {
      const Saved<W, KT> saved(p, tile * working + warp, kSecondOrder);
      if (points.any) {
        for (int i = 0; i < layers * Shape::kMaskWords; ++i) block.masks.bits[32 * i] = saved.masks[32 * i];
      }
      prefetch_tile<W, KT, kSecondOrder>(p, n, (tile + gridDim.x) * working + warp);
      std::uint32_t e[kOrders][KT][4] = {};
      float tangent[kSecondOrder ? 2 * KT : 1][2][2];
      read_inputs(p, block, points, saved, own, e[0], tangent);
      if constexpr (kSecondOrder) {
        scale_tangents(own, tangent, e[kOrders - 1]);
        store_rows(e[kOrders - 1], samples.input(kOrders - 1) + row0 * Shape::kInStride, Shape::kInStride);
      }
      store_rows(e[0], samples.input(0) + row0 * Shape::kInStride, Shape::kInStride);
      hidden_layers(block, e, own);

      float o[4];
      outputs<W, KT>(own.h[0], block.shared.weights + Shape::last(layers), block.shared.bias + layers * W, o);
      output_adjoints(p, block, points, o, own);
      last_bias[0] += own.obar[0] + own.obar[2], last_bias[1] += own.obar[1] + own.obar[3];
      const unsigned largest_of_warp = scale_adjoints(own);
      if (lane == 0) atomicMax(&largest[parity], largest_of_warp);
    }
    __syncthreads();

    // ---- Find the block's common scale. The largest sample so far decides it; a larger one rescales all sums. A tile
    // without any gradient ends here.
    const unsigned largest_of_tile = largest[parity];
    if (threadIdx.x == 0) largest[parity ^ 1] = 0;  // read again only after the next barrier
    if (largest_of_tile == 0) {                     // the whole tile has no gradient
      if (works && points.any) write_zero_adjoints(p, block, 16 * (tile * working + warp) - p.first);
      __syncthreads();
      continue;
    }
    const float wanted = scale_for(largest_of_tile);
    if (common == 0.0f) {
      common = wanted;
    } else if (wanted < common) {
      const float factor = wanted / common;
      common = wanted;
      rescale(first_sums, factor);
#pragma unroll
      for (auto& sums : middle_sums) rescale(sums, factor);
#pragma unroll
      for (auto& sums : last_sums) {
#pragma unroll
        for (float& v : sums) v *= factor;
      }
    }

    // ---- Output layer: each warp adds its samples' part of dW_{H+1}, and pulls the adjoints back to h_H.
    float to_common[2] = {}, tangent_to_common[2] = {};  // factors on d, and on a to make up for hdot's scale
    if (works) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (own.size[r]) to_common[r] = common / own.row_scale[r];
        if (own.tangent_size[r]) tangent_to_common[r] = common / own.tangent_scale[r];
      }
      last_layer_gradient(block, own, common, tangent_to_common, last_sums);
      if constexpr (kSecondOrder) first_adjoint<W, KT>(block.shared, layers, block.masks, own.h[kOrders - 1]);
      // d_H = (obar W_{H+1}) * m_H, each sample at its own scale. (As a function, this loop costs instructions.)
      const std::uint32_t a0 = pack_half(own.obar[0] * own.row_scale[0], own.obar[1] * own.row_scale[0]);
      const std::uint32_t a1 = pack_half(own.obar[2] * own.row_scale[1], own.obar[3] * own.row_scale[1]);
      const __half* from =
          block.shared.weights + Shape::last(layers) + (lane & 7) * Shape::kStride + ((lane >> 3) & 1) * 8;
#pragma unroll
      for (int t = 0; t < W / 8; t += 2) {
        std::uint32_t b[2];
        load_matrices<true>(b, from + 8 * t);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float c[4] = {};
          multiply_add(c, a0, a1, b[i]);
          mask(c, block.masks.word(layers - 1, t + i) >> (4 * ((t + i) % 8)));
          put(own.h[0], t + i, c);
        }
      }
    }

    // ---- Hidden layers, the last one first. The warps store their adjoints, form dW_k together, and each pulls its
    // own adjoints back through W_k.
#pragma unroll 1
    for (int layer = layers - 1; layer > 0; --layer) {
      if (works) store_adjoints(block, own, to_common, tangent_to_common);
      __syncthreads();
      const auto add = [&](Sums<W, W>& sums) {
        add_weight_gradient<W>(sums, samples, samples.hidden(layer, 0), samples.hidden(layer, 1), Shape::kStride);
      };
      if (kMiddle == 1 || layer == 1) {  // an index that is not constant would move the sums to memory
        add(middle_sums[0]);
      } else {
        add(middle_sums[kMiddle - 1]);
      }
      if (works) pull_adjoints(block, layer, own);
      __syncthreads();
    }
    if (works) store_adjoints(block, own, to_common, tangent_to_common);
    __syncthreads();
    add_weight_gradient<Shape::kIn>(first_sums, samples, samples.input(0), samples.input(1), Shape::kInStride);

    // ---- Encoded inputs: write d_0 and a_0 for the scatter.
    if (works && points.any) write_input_adjoints(p, block, own, 16 * (tile * working + warp) - p.first);
    __syncthreads();
  }

  // ---- Write the block's part of d_mlp in true units.
  const float unit = common == 0.0f ? 0.0f : 1.0f / common;
  const int inputs = 2 * p.net.grid.levels;
  float* out = p.partial + static_cast<std::size_t>(blockIdx.x) * p.parameters;
  write_sums(first_sums, field_layer(inputs, W, layers, 0), unit, out);
  if (layers > 1) write_sums(middle_sums[0], field_layer(inputs, W, layers, 1), unit, out);
  if (kMiddle > 1) write_sums(middle_sums[kMiddle - 1], field_layer(inputs, W, layers, 2), unit, out);
  write_last_layer<W>(last_sums, last_bias, unit, field_layer(inputs, W, layers, layers),
                      reinterpret_cast<float*>(samples.base), out);
#endif
}

template <int W, int KT, bool kSecondOrder, int kMiddle>
void launch_backward(const Launch& launch, const FieldArgs& p, int parts, float* d_mlp) {
  using Shape = FieldShape<W, KT>;
  const int layers = p.net.layers, warps = Split<W>::kWarps;
  int max_shared = 0;
  check(cudaDeviceGetAttribute(&max_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, launch.device),
        "cudaDeviceGetAttribute");
  const int fixed = Shape::bytes(layers, false) + warps * layers * Shape::kMaskWords * 32 * 4;
  const int sample = 2 * Samples<W, KT, kSecondOrder>::halves(layers);
  int rows = 16 * warps;
  while (rows > 16 && fixed + rows * sample + 64 > max_shared) rows /= 2;  // 64: `largest`
  const auto kernel = backward_kernel<W, KT, kSecondOrder, kMiddle>;
  const int bytes = fixed + rows * sample;
  const std::int64_t wanted = (p.max_points + rows - 1) / rows;
  const unsigned blocks = persistent_blocks(reinterpret_cast<const void*>(kernel), launch.device, 32 * warps, bytes,
                                            wanted < parts ? wanted : parts);
  kernel<<<blocks, 32 * warps, bytes, stream_of(launch)>>>(p, rows);
  check(cudaGetLastError(), "field_backward");
  add_parts_kernel<<<blocks_for(p.parameters, kSumColumns), dim3(kSumColumns, kSumRows), 0, stream_of(launch)>>>(
      p.partial, static_cast<int>(blocks), p.parameters, d_mlp);
  check(cudaGetLastError(), "field_backward's sums");
}

// Launches one chunk of points, without the scatter. kSecondOrder: there is a gradient of g. The two instantiations
// are in two files, which build in parallel.
template <bool kSecondOrder>
void field_adjoints(const Launch& launch, const FieldArgs& p, int parts, float* d_mlp) {
  with_field_shape(p.net, [&](auto width, auto tiles) {
    constexpr int W = decltype(width)::value, KT = decltype(tiles)::value;
    p.net.layers <= 2 ? launch_backward<W, KT, kSecondOrder, 1>(launch, p, parts, d_mlp)
                      : launch_backward<W, KT, kSecondOrder, 2>(launch, p, parts, d_mlp);
  });
}

}  // namespace dfast::cuda
