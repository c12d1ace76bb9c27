// Field, backward: recompute, adjoints of both orders, weight gradients in registers; then one scatter a corner.
//
// A warp recomputes 16 samples (values h and tangents hdot = dh/dx u share every weight that is read), turns around at
// the outputs and walks back with the adjoints d and a. A block's warps then form dW_k = d_k h_{k-1}^T + a_k
// hdot_{k-1}^T together: activations and adjoints pass through shared memory, each warp owns a part of dW_k and keeps
// it in registers until the last tile.
//
// Adjoints span many magnitudes, halves do not. d and hdot are linear in obar and u, so each sample carries them scaled
// by its own power of two; only the copies that enter dW are brought to the block's common scale, which follows the
// largest sample seen so far (a new one rescales the sums, exactly).
#pragma once

#include "cuda/field/launch.h"
#include "cuda/field/weight_gradients.cuh"

namespace dfast::cuda {

constexpr int kTangentRoom = 5;  // a is scaled by at most 2^5 on its way into dW, so it may reach 2000

// Magnitudes are compared as the bits of |v|: the order of floats, with NaN above infinity instead of lost.
__device__ __forceinline__ unsigned magnitude(float v) { return __float_as_uint(v) & 0x7fffffffu; }

// The power of two that brings a magnitude to [1, 2); 1 for zero, infinity and NaN.
__device__ __forceinline__ float scale_for(unsigned bits) {
  const int exponent = static_cast<int>(bits >> 23) - 127;
  if (bits == 0 || exponent == 128) return 1.0f;
  const int shift = -exponent < -120 ? -120 : (-exponent > 120 ? 120 : -exponent);
  return __uint_as_float(static_cast<std::uint32_t>(shift + 127) << 23);
}

__device__ __forceinline__ unsigned row_max(unsigned v) {
  v = max(v, __shfl_xor_sync(~0u, v, 1));
  return max(v, __shfl_xor_sync(~0u, v, 2));
}

// Shared memory of a block's samples: activations and tangents of the input and the hidden layers but the last, and the
// adjoints of one layer.
template <int W, int KT, bool kSecondOrder>
struct Samples {
  using Shape = FieldShape<W, KT>;
  static constexpr int kOrders = kSecondOrder ? 2 : 1;
  static DFAST_HD int halves(int layers) {  // a sample
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

// Asks L2 for what a tile of 16 samples will read, if it is whole.
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void prefetch_tile(const FieldArgs& p, std::int64_t n, std::int64_t tile) {
  const std::int64_t first = 16 * tile;
  if (first + 16 > n) return;
  const auto ask = [](const void* line) { asm volatile("prefetch.global.L2 [%0];" ::"l"(line)); };
  const int lane = threadIdx.x & 31;
  const Saved<W, KT> saved(p, tile, kSecondOrder);
  for (int i = lane; i < saved.words; i += 32) ask(saved.first + 32 * i);
  const int line = 32 * (lane & 1);  // 16 vectors are two lines at most, both of which begin before their 33rd number
  if (lane < 2) {
    ask(p.x + 3 * first + line);
  } else if (lane < 4 && p.d_albedo) {
    ask(p.d_albedo + 3 * first + line);
  } else if (lane < 6 && kSecondOrder) {
    ask(p.d_gradient + 3 * first + line);
  } else if (lane == 6 && p.d_density) {
    ask(p.d_density + first);
  }
}

// kMiddle: hidden-to-hidden matrices whose sums are kept, 1 (also for none) or 2.
template <int W, int KT, bool kSecondOrder, int kMiddle>
__global__ void __launch_bounds__(32 * Split<W>::kWarps, W == 128  ? 1
                                                         : W == 64 ? 3
                                                                   : 4) backward_kernel(const FieldArgs p, int rows) {
#if DFAST_TENSOR_CORES
  using Shape = FieldShape<W, KT>;
  constexpr int S = kSecondOrder ? 2 : 1;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ unsigned largest[2];  // of |obar| in the tile, as float bits; two tiles take turns
  const int layers = p.net.layers, lane = threadIdx.x & 31, warp = threadIdx.x >> 5, lane_in_quad = lane & 3;
  const FieldShared shared = load_net<W, KT, false>(p, memory);
  const Samples<W, KT, kSecondOrder> samples = {reinterpret_cast<__half*>(memory + Shape::bytes(layers, false)), rows,
                                                layers};
  const int working = rows / 16;  // warps that carry samples
  const Masks masks = {
      reinterpret_cast<std::uint32_t*>(samples.base + rows * Samples<W, KT, kSecondOrder>::halves(layers)) +
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
  int turn = 0;
  for (std::int64_t tile = p.first / rows + blockIdx.x; tile < tiles; tile += gridDim.x, turn ^= 1) {
    const bool works = warp < working;
    const FieldPoints points(p, n, tile * working + (works ? warp : 0));
    const int row0 = 16 * warp;  // of this warp in the block's arrays

    // Gather.
    std::uint32_t e[S][KT][4] = {};
    float u[2][3] = {}, tangent_scale[2] = {1.0f, 1.0f};
    unsigned size[2] = {}, tangent_size[2] = {};  // of obar and J u, a row
    float tangent[kSecondOrder ? 2 * KT : 1][2][2];
    float obar[4] = {};
    float row_scale[2] = {1.0f, 1.0f};
    std::uint32_t h[S][W / 16][4];
    int layer = 0;
    std::uint32_t next[S][W / 16][4];
    const auto advance = [&] {
#pragma unroll
      for (int s = 0; s < S; ++s) {
#pragma unroll
        for (int k = 0; k < W / 16; ++k) {
#pragma unroll
          for (int i = 0; i < 4; ++i) h[s][k][i] = next[s][k][i];
        }
      }
    };
    if (works) {
      const Saved<W, KT> saved(p, tile * working + warp, kSecondOrder);
      if (points.any) {
        for (int i = 0; i < layers * Shape::kMaskWords; ++i) masks.bits[32 * i] = saved.masks[32 * i];
      }
      prefetch_tile<W, KT, kSecondOrder>(p, n, (tile + gridDim.x) * working + warp);
      if constexpr (kSecondOrder) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
#pragma unroll
          for (int k = 0; k < 3; ++k) u[r][k] = points.valid[r] ? 0.5f * p.d_gradient[3 * points.index[r] + k] : 0.0f;
        }
      }
      if constexpr (!kSecondOrder) {
#pragma unroll
        for (int i = 0; i < 4 * KT; ++i) e[0][i / 4][i % 4] = points.any ? __ldcs(saved.inputs + 32 * i) : 0u;
      } else if (p.keeps_jacobian) {
#pragma unroll
        for (int i = 0; i < 4 * KT; ++i) {  // i: level 4 (i / 2) + lane_in_quad of sample i % 2
          const uint4 at = points.any ? __ldcs(saved.gathered + 32 * i) : make_uint4(0, 0, 0, 0);
          const std::uint32_t slopes[3] = {at.y, at.z, at.w};
          float along[2] = {};
#pragma unroll
          for (int k = 0; k < 3; ++k) {
            const float2 slope = unpack_half(slopes[k]);
            along[0] += u[i & 1][k] * slope.x, along[1] += u[i & 1][k] * slope.y;
          }
          e[0][i / 4][i % 4] = at.x;
          tangent[i / 2][i & 1][0] = along[0], tangent[i / 2][i & 1][1] = along[1];
        }
      } else {
#pragma unroll
        for (int j = 0; j < 2 * KT; ++j) {
          const FieldLevel level = shared.levels[4 * j + lane_in_quad];
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            float value[2] = {}, slope[3][2] = {}, along[2] = {};
            if (level.weight != 0.0f) {
              const FieldCell cell = locate<true>(level, p.net.grid.smooth, points.unit[r]);
              std::uint32_t corner[8];
              read_corners<true>(p.table_half, level, cell, corner);
              interpolate<kSecondOrder>(corner, cell.w, value, slope);
              if constexpr (kSecondOrder) {
#pragma unroll
                for (int k = 0; k < 3; ++k) {
                  const float factor = u[r][k] * cell.d[k];
                  along[0] += factor * slope[k][0], along[1] += factor * slope[k][1];
                }
              }
            }
            e[0][j / 2][(j & 1) * 2 + r] = pack_half(level.weight * value[0], level.weight * value[1]);
            if constexpr (kSecondOrder) {
              tangent[j][r][0] = level.weight * along[0], tangent[j][r][1] = level.weight * along[1];
            }
          }
        }
      }
      if constexpr (kSecondOrder) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
#pragma unroll
          for (int j = 0; j < 2 * KT; ++j) {
            tangent_size[r] = max(tangent_size[r], max(magnitude(tangent[j][r][0]), magnitude(tangent[j][r][1])));
          }
          tangent_size[r] = row_max(tangent_size[r]);
          tangent_scale[r] = scale_for(tangent_size[r]);
#pragma unroll
          for (int j = 0; j < 2 * KT; ++j) {
            e[S - 1][j / 2][(j & 1) * 2 + r] =
                pack_half(tangent_scale[r] * tangent[j][r][0], tangent_scale[r] * tangent[j][r][1]);
          }
        }
        store_rows(e[S - 1], samples.input(S - 1) + row0 * Shape::kInStride, Shape::kInStride);
      }
      store_rows(e[0], samples.input(0) + row0 * Shape::kInStride, Shape::kInStride);

      // Up: values and tangents.
      const auto begin = [&](int s, int t, float (&c)[4]) {
        s == 0 ? start_at_bias(shared.bias + layer * W, t, c) : start_at_zero(c);
      };
      const auto end = [&](int s, int t, float (&c)[4]) {
        // The forward pass decided, with more digits, which units are active.
        mask(c, masks.word(layer, t) >> (4 * (t % 8)));
        put(next[s], t, c);
      };
      multiply<false, S, KT, W / 8>(e, shared.weights, Shape::kInStride, begin, end);
      advance();
#pragma unroll 1
      for (layer = 1; layer < layers; ++layer) {
#pragma unroll
        for (int s = 0; s < S; ++s) {
          store_rows(h[s], samples.hidden(layer, s) + row0 * Shape::kStride, Shape::kStride);
        }
        multiply<false, S, W / 16, W / 8>(h, shared.weights + Shape::middle(layer), Shape::kStride, begin, end);
        advance();
      }

      // Turn: dL/do at the outputs, and its size.
      float o[4];
      outputs<W, KT>(h[0], shared.weights + Shape::last(layers), shared.bias + layers * W, o);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (!points.valid[r]) continue;
        const std::int64_t i = points.index[r];
        if (lane_in_quad == 0) {
          float slope;
          const float s =
              o[2 * r] + static_cast<float>(p.net.head.bias) + blob_of<float>(p.net.head, points.x[r], nullptr);
          density_of(p.net.head, s, &slope);
          const float albedo = sigmoid(o[2 * r + 1]);
          obar[2 * r] = p.d_density ? p.d_density[i] * slope : 0.0f;
          obar[2 * r + 1] = p.d_albedo ? p.d_albedo[3 * i] * (albedo * (1.0f - albedo)) : 0.0f;
        } else if (lane_in_quad == 1 && p.d_albedo) {
#pragma unroll
          for (int k = 0; k < 2; ++k) {
            const float albedo = sigmoid(o[2 * r + k]);
            obar[2 * r + k] = p.d_albedo[3 * i + 1 + k] * (albedo * (1.0f - albedo));
          }
        }
      }
      last_bias[0] += obar[0] + obar[2], last_bias[1] += obar[1] + obar[3];
      unsigned most = 0;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        size[r] = row_max(max(magnitude(obar[2 * r]), magnitude(obar[2 * r + 1])));
        row_scale[r] = scale_for(size[r]);
        most = max(most, size[r]);
        if (tangent_size[r]) most = max(most, magnitude(1.0f / (tangent_scale[r] * (1 << kTangentRoom))));
        // Where J u is zero, a_0 goes to the table all the same.
        if (u[r][0] != 0.0f || u[r][1] != 0.0f || u[r][2] != 0.0f) most = max(most, 1u);
      }
      for (int step = 4; step < 32; step *= 2) most = max(most, __shfl_xor_sync(~0u, most, step));
      if (lane == 0) atomicMax(&largest[turn], most);
    }
    __syncthreads();

    const unsigned tile_most = largest[turn];
    if (threadIdx.x == 0) largest[turn ^ 1] = 0;  // read again only after the next barrier
    if (tile_most == 0) {                         // no gradient in the whole tile
      if (works && points.any) {
        const std::int64_t at = 16 * (tile * working + warp) - p.first + 2 * (lane >> 2);
        for (int level = lane_in_quad; level < p.net.grid.levels; level += 4) {
          *reinterpret_cast<uint2*>(p.adjoints.d + level * p.adjoints.pitch + at) = make_uint2(0, 0);
          if (kSecondOrder) *reinterpret_cast<uint2*>(p.adjoints.a + level * p.adjoints.pitch + at) = make_uint2(0, 0);
        }
        if (lane_in_quad == 0) *reinterpret_cast<float2*>(p.adjoints.unit + at) = make_float2(1.0f, 1.0f);
      }
      __syncthreads();
      continue;
    }
    const float wanted = scale_for(tile_most);
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

    float to_common[2] = {}, tangent_to_common[2] = {};  // factors on d, and on a to make up for hdot's scale
    if (works) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (size[r]) to_common[r] = common / row_scale[r];
        if (tangent_size[r]) tangent_to_common[r] = common / tangent_scale[r];
      }
      // dW_{H+1}: h_H^T obar + hdot_H^T e_0, each warp its own samples.
      const std::uint32_t b0 = transpose_matrix(pack_half(obar[0] * common, obar[1] * common));
      const std::uint32_t b1 = transpose_matrix(pack_half(obar[2] * common, obar[3] * common));
#pragma unroll
      for (int k = 0; k < W / 16; ++k) {
        std::uint32_t t[4];  // h^T: rows are features
        t[0] = transpose_matrix(h[0][k][0]), t[1] = transpose_matrix(h[0][k][2]);
        t[2] = transpose_matrix(h[0][k][1]), t[3] = transpose_matrix(h[0][k][3]);
        multiply_add(last_sums[k], t, b0, b1);
      }
      if constexpr (kSecondOrder) {
        const float z0 = lane_in_quad == 0 ? tangent_to_common[0] : 0.0f,
                    z1 = lane_in_quad == 0 ? tangent_to_common[1] : 0.0f;
        const std::uint32_t c0 = transpose_matrix(pack_half(z0, 0.0f)), c1 = transpose_matrix(pack_half(z1, 0.0f));
#pragma unroll
        for (int k = 0; k < W / 16; ++k) {
          std::uint32_t t[4];
          t[0] = transpose_matrix(h[S - 1][k][0]), t[1] = transpose_matrix(h[S - 1][k][2]);
          t[2] = transpose_matrix(h[S - 1][k][1]), t[3] = transpose_matrix(h[S - 1][k][3]);
          multiply_add(last_sums[k], t, c0, c1);
        }
        first_adjoint<W, KT>(shared, layers, masks, h[S - 1]);
      }

      // Down: d_H = (obar W_{H+1}) * m_H at the sample's own scale.
      const std::uint32_t a0 = pack_half(obar[0] * row_scale[0], obar[1] * row_scale[0]);
      const std::uint32_t a1 = pack_half(obar[2] * row_scale[1], obar[3] * row_scale[1]);
      const __half* from = shared.weights + Shape::last(layers) + (lane & 7) * Shape::kStride + ((lane >> 3) & 1) * 8;
#pragma unroll
      for (int t = 0; t < W / 8; t += 2) {
        std::uint32_t b[2];
        load_matrices<true>(b, from + 8 * t);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float c[4] = {};
          multiply_add(c, a0, a1, b[i]);
          mask(c, masks.word(layers - 1, t + i) >> (4 * ((t + i) % 8)));
          put(h[0], t + i, c);
        }
      }
    }

    const auto store_adjoints = [&] {
      store_scaled(h[0], to_common, samples.adjoint(0) + row0 * Shape::kStride, Shape::kStride);
      if constexpr (kSecondOrder) {
        store_scaled(h[S - 1], tangent_to_common, samples.adjoint(1) + row0 * Shape::kStride, Shape::kStride);
      }
    };
#pragma unroll 1
    for (layer = layers - 1; layer > 0; --layer) {
      if (works) store_adjoints();
      __syncthreads();
      const auto both = [&](Sums<W, W>& sums) {
        outer<W, W, true>(sums, samples.adjoint(0), Shape::kStride, samples.hidden(layer, 0), Shape::kStride, rows);
        if constexpr (kSecondOrder) {
          outer<W, W, false>(sums, samples.adjoint(1), Shape::kStride, samples.hidden(layer, 1), Shape::kStride, rows);
        }
      };
      if (kMiddle == 1 || layer == 1) {
        both(middle_sums[0]);
      } else {
        both(middle_sums[kMiddle - 1]);
      }
      if (works) {
        multiply<true, S, W / 16, W / 8>(
            h, shared.weights + Shape::middle(layer), Shape::kStride, [](int, int, float (&c)[4]) { start_at_zero(c); },
            [&](int s, int t, float (&c)[4]) {
              mask(c, masks.word(layer - 1, t) >> (4 * (t % 8)));
              put(next[s], t, c);
            });
        advance();
      }
      __syncthreads();
    }
    if (works) store_adjoints();
    __syncthreads();
    outer<W, Shape::kIn, true>(first_sums, samples.adjoint(0), Shape::kStride, samples.input(0), Shape::kInStride,
                               rows);
    if constexpr (kSecondOrder) {
      outer<W, Shape::kIn, false>(first_sums, samples.adjoint(1), Shape::kStride, samples.input(1), Shape::kInStride,
                                  rows);
    }

    // d_0 and a_0 of a level are with the lane that gathered it.
    if (works && points.any) {
      const std::int64_t at = 16 * (tile * working + warp) - p.first + 2 * (lane >> 2);
      if (lane_in_quad == 0) {
        *reinterpret_cast<float2*>(p.adjoints.unit + at) = make_float2(1.0f / row_scale[0], 1.0f / row_scale[1]);
      }
      multiply<true, S, W / 16, 2 * KT>(
          h, shared.weights, Shape::kInStride, [](int, int, float (&c)[4]) { start_at_zero(c); },
          [&](int s, int j, float (&c)[4]) {
            const int level = 4 * j + lane_in_quad;
            if (level >= p.net.grid.levels) return;
            std::uint32_t* to = (s == 0 ? p.adjoints.d : p.adjoints.a) + level * p.adjoints.pitch + at;
            __stcs(reinterpret_cast<uint2*>(to), make_uint2(pack_half(c[0], c[1]), pack_half(c[2], c[3])));
          });
    }
    __syncthreads();
  }

  const float unit = common == 0.0f ? 0.0f : 1.0f / common;
  const int inputs = 2 * p.net.grid.levels;
  float* out = p.partial + static_cast<std::size_t>(blockIdx.x) * p.parameters;
  write_sums(first_sums, field_layer(inputs, W, layers, 0), unit, out);
  if (layers > 1) write_sums(middle_sums[0], field_layer(inputs, W, layers, 1), unit, out);
  if (kMiddle > 1) write_sums(middle_sums[kMiddle - 1], field_layer(inputs, W, layers, 2), unit, out);

  // Of the last layer every warp has a part; they take turns in shared memory.
  float* last_part = reinterpret_cast<float*>(samples.base);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    for (int step = 4; step < 32; step *= 2) last_bias[i] += __shfl_xor_sync(~0u, last_bias[i], step);
  }
#pragma unroll 1
  for (int turn_of = 0; turn_of < Split<W>::kWarps; ++turn_of) {
    __syncthreads();
    if (warp != turn_of) continue;
    const auto add = [&](int at, float v) { last_part[at] = (turn_of == 0 ? 0.0f : last_part[at]) + v; };
    if (lane_in_quad < 2) {
#pragma unroll
      for (int k = 0; k < W / 16; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          add((2 * lane_in_quad + (i & 1)) * W + 16 * k + (lane >> 2) + 8 * (i >> 1), last_sums[k][i] * unit);
        }
      }
    }
    if (lane < 2) add(kFieldOutputs * W + 2 * lane, last_bias[0]), add(kFieldOutputs * W + 2 * lane + 1, last_bias[1]);
  }
  __syncthreads();
  const FieldLayer last = field_layer(inputs, W, layers, layers);
  for (int i = threadIdx.x; i < kFieldOutputs * (W + 1); i += blockDim.x) out[last.weight + i] = last_part[i];
#endif
}

template <int W, int KT, bool kSecondOrder, int kMiddle>
void launch_backward(const Launch& launch, const FieldArgs& p, int parts, float* d_mlp) {
  using Shape = FieldShape<W, KT>;
  const int layers = p.net.layers, warps = Split<W>::kWarps;
  int most = 0;
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, launch.device),
        "cudaDeviceGetAttribute");
  const int fixed = Shape::bytes(layers, false) + warps * layers * Shape::kMaskWords * 32 * 4;
  const int sample = 2 * Samples<W, KT, kSecondOrder>::halves(layers);
  int rows = 16 * warps;
  while (rows > 16 && fixed + rows * sample + 64 > most) rows /= 2;  // 64: `largest`
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

// One launch, without the scatter. kSecondOrder: there is a gradient of g. Instantiated in two files, which build in
// parallel.
template <bool kSecondOrder>
void field_adjoints(const Launch& launch, const FieldArgs& p, int parts, float* d_mlp) {
  with_field_shape(p.net, [&](auto width, auto tiles) {
    constexpr int W = decltype(width)::value, KT = decltype(tiles)::value;
    p.net.layers <= 2 ? launch_backward<W, KT, kSecondOrder, 1>(launch, p, parts, d_mlp)
                      : launch_backward<W, KT, kSecondOrder, 2>(launch, p, parts, d_mlp);
  });
}

}  // namespace dfast::cuda
