// The first phase of the field's backward pass: a warp recomputes the values and tangents of its 16 samples.
#pragma once

#include "cuda/field/backward_tile.cuh"

namespace dfast::cuda {

#if DFAST_TENSOR_CORES

// Prefetches into L2 what a tile of 16 samples will read, if the tile is whole.
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void prefetch_tile(const FieldArgs& p, std::int64_t n, std::int64_t tile) {
  const std::int64_t first = 16 * tile;
  if (first + 16 > n) return;
  const auto prefetch = [](const void* line) { asm volatile("prefetch.global.L2 [%0];" ::"l"(line)); };
  const int lane = threadIdx.x & 31;
  const Saved<W, KT> saved(p, tile, kSecondOrder);
  for (int i = lane; i < saved.words; i += 32) prefetch(saved.first + 32 * i);
  const int line = 32 * (lane & 1);  // 16 vectors are two lines at most, both of which begin before their 33rd number
  if (lane < 2) {
    prefetch(p.x + 3 * first + line);
  } else if (lane < 4 && p.d_albedo) {
    prefetch(p.d_albedo + 3 * first + line);
  } else if (lane < 6 && kSecondOrder) {
    prefetch(p.d_gradient + 3 * first + line);
  } else if (lane == 6 && p.d_density) {
    prefetch(p.d_density + first);
  }
}

// Reads the masks, the encoded inputs e and, for second order, the tangents J u of the warp's samples. They come from
// what the forward pass saved or, where it kept no Jacobians, from the table.
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void read_inputs(const FieldArgs& p, const BackwardBlock<W, KT, kSecondOrder>& block,
                                            const FieldPoints& points, const Saved<W, KT>& saved,
                                            BackwardTile<W, KT, kSecondOrder>& tile, std::uint32_t (&e)[KT][4],
                                            float (&tangent)[kSecondOrder ? 2 * KT : 1][2][2]) {
  if constexpr (kSecondOrder) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int k = 0; k < 3; ++k) {
        tile.u[r][k] = points.valid[r] ? 0.5f * p.d_gradient[3 * points.index[r] + k] : 0.0f;
      }
    }
  }
  if constexpr (!kSecondOrder) {
#pragma unroll
    for (int i = 0; i < 4 * KT; ++i) e[i / 4][i % 4] = points.any ? __ldcs(saved.inputs + 32 * i) : 0u;
  } else if (p.keeps_jacobian) {
#pragma unroll
    for (int i = 0; i < 4 * KT; ++i) {  // i: level 4 (i / 2) + lane_in_quad of sample i % 2
      const uint4 at = points.any ? __ldcs(saved.gathered + 32 * i) : make_uint4(0, 0, 0, 0);
      const std::uint32_t slopes[3] = {at.y, at.z, at.w};
      float along[2] = {};
#pragma unroll
      for (int k = 0; k < 3; ++k) {
        const float2 slope = unpack_half(slopes[k]);
        along[0] += tile.u[i & 1][k] * slope.x, along[1] += tile.u[i & 1][k] * slope.y;
      }
      e[i / 4][i % 4] = at.x;
      tangent[i / 2][i & 1][0] = along[0], tangent[i / 2][i & 1][1] = along[1];
    }
  } else {
#pragma unroll
    for (int j = 0; j < 2 * KT; ++j) {
      const FieldLevel level = block.shared.levels[4 * j + block.lane_in_quad];
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
              const float factor = tile.u[r][k] * cell.d[k];
              along[0] += factor * slope[k][0], along[1] += factor * slope[k][1];
            }
          }
        }
        e[j / 2][(j & 1) * 2 + r] = pack_half(level.weight * value[0], level.weight * value[1]);
        if constexpr (kSecondOrder) {
          tangent[j][r][0] = level.weight * along[0], tangent[j][r][1] = level.weight * along[1];
        }
      }
    }
  }
}

// Scales each sample's tangent J u by its own power of two and packs it as the A fragment hdot_0.
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void scale_tangents(BackwardTile<W, KT, kSecondOrder>& tile,
                                               const float (&tangent)[2 * KT][2][2], std::uint32_t (&e)[KT][4]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int j = 0; j < 2 * KT; ++j) {
      tile.tangent_size[r] = max(tile.tangent_size[r], max(magnitude(tangent[j][r][0]), magnitude(tangent[j][r][1])));
    }
    tile.tangent_size[r] = row_max(tile.tangent_size[r]);
    tile.tangent_scale[r] = scale_for(tile.tangent_size[r]);
#pragma unroll
    for (int j = 0; j < 2 * KT; ++j) {
      e[j / 2][(j & 1) * 2 + r] =
          pack_half(tile.tangent_scale[r] * tangent[j][r][0], tile.tangent_scale[r] * tangent[j][r][1]);
    }
  }
}

// Multiplies values and tangents by all hidden layers and leaves h_H and hdot_H in `tile`. Values and tangents share
// every weight that is read. The input of each product but the first is stored for the weight gradients.
template <int W, int KT, bool kSecondOrder>
__device__ __forceinline__ void hidden_layers(const BackwardBlock<W, KT, kSecondOrder>& block,
                                              const std::uint32_t (&e)[kSecondOrder ? 2 : 1][KT][4],
                                              BackwardTile<W, KT, kSecondOrder>& tile) {
  using Shape = FieldShape<W, KT>;
  constexpr int S = BackwardTile<W, KT, kSecondOrder>::kOrders;
  const FieldShared& shared = block.shared;
  const int row0 = 16 * block.warp;  // this warp's first row in the block's arrays
  int layer = 0;
  const auto begin = [&](int s, int t, float (&c)[4]) {
    s == 0 ? start_at_bias(shared.bias + layer * W, t, c) : start_at_zero(c);
  };
  const auto end = [&](int s, int t, float (&c)[4]) {
    // The forward pass, which has more digits, decided which units are active.
    mask(c, block.masks.word(layer, t) >> (4 * (t % 8)));
    put(tile.next[s], t, c);
  };
  multiply<false, S, KT, W / 8>(e, shared.weights, Shape::kInStride, begin, end);
  tile.advance();
#pragma unroll 1
  for (layer = 1; layer < block.layers; ++layer) {
#pragma unroll
    for (int s = 0; s < S; ++s) {
      store_rows(tile.h[s], block.samples.hidden(layer, s) + row0 * Shape::kStride, Shape::kStride);
    }
    multiply<false, S, W / 16, W / 8>(tile.h, shared.weights + Shape::middle(layer), Shape::kStride, begin, end);
    tile.advance();
  }
}

#endif

}  // namespace dfast::cuda
