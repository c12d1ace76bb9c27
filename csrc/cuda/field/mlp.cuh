// The MLP of the fused field: weights as halves in shared memory, activations in registers, 16 samples per warp.
//
// A lane gathers two samples in every fourth level. With two features per level this is the layout of the A fragment of
// the first product (cuda/mma.cuh): q = lane / 4 selects the samples, lane_in_quad = lane % 4 the level.
#pragma once

#include "cuda/field/grid.cuh"

namespace dfast::cuda {

// The adjoints of up to `pitch` samples that the scatter reads.
struct FieldAdjoints {
  std::uint32_t* d;  // [L, pitch] d_0 in units of `unit`, pairs of halves
  std::uint32_t* a;  // [L, pitch] a_0, pairs of halves
  float* unit;       // [pitch] the sample's 1 / scale
  std::int64_t pitch;
};

// The kernels' arguments.
struct FieldArgs {
  FieldNet net;
  std::int64_t n;
  const std::int64_t* count;  // nullable
  const float* x;
  const std::uint32_t* table_half;  // rows of two halves
  const float* level_weights;       // nullable
  const float* mlp;
  std::uint32_t* saved;  // written by the forward pass for the backward pass, see Saved; nullable in the former
  bool keeps_jacobian;
  // Forward
  float* density;
  float* albedo;
  float* gradient;
  // Backward
  const float* d_density;
  const float* d_albedo;
  const float* d_gradient;
  float* partial;           // [blocks, P]: each block's part of the MLP's gradient
  int parameters;           // P
  std::int64_t first;       // first point of this launch, a multiple of 128
  std::int64_t max_points;  // points of this launch
  FieldAdjoints adjoints;
};

// W: width of the hidden layers. KT: 16-wide tiles of the input, 8 levels each.
template <int W, int KT>
struct FieldShape {
  static constexpr int kIn = 16 * KT;
  static constexpr int kInStride = kIn + 8;  // halves; rows 16 bytes apart modulo 128, so ldmatrix has no conflicts
  static constexpr int kStride = W + 8;
  static constexpr int kTiles = W / 16;
  static constexpr int kLevels = 8 * KT;
  static constexpr int kMaskWords = (W + 63) / 64;  // 4 bits for each 8 columns that a lane holds

  static DFAST_HD int middle(int k) { return W * kInStride + (k - 1) * W * kStride; }  // hidden layer k >= 1
  static DFAST_HD int last(int layers) { return middle(layers); }
  static DFAST_HD int halves(int layers) { return last(layers) + 8 * kStride; }
  static DFAST_HD int biases(int layers) { return layers * W + 8; }
  static DFAST_HD int bytes(int layers, bool split) {
    return halves(layers) * (split ? 4 : 2) + biases(layers) * 4 + kLevels * static_cast<int>(sizeof(FieldLevel));
  }
};

// The grid's levels and the MLP in a block's shared memory.
struct FieldShared {
  FieldLevel* levels;
  float* bias;      // layer k at k * W
  __half* weights;  // [out, in + 8], layer after layer
  int low;          // offset from a weight to the rest that rounding it to half left, if that is kept
};

template <int W, int KT, bool kSplit>
__device__ __forceinline__ FieldShared load_net(const FieldArgs& p, unsigned char* memory) {
  using Shape = FieldShape<W, KT>;
  const int layers = p.net.layers, inputs = 2 * p.net.grid.levels;
  FieldShared shared;
  shared.levels = reinterpret_cast<FieldLevel*>(memory);
  shared.bias = reinterpret_cast<float*>(shared.levels + Shape::kLevels);
  shared.weights = reinterpret_cast<__half*>(shared.bias + Shape::biases(layers));
  shared.low = Shape::halves(layers);
  const int lane = threadIdx.x & 31, warps = blockDim.x >> 5;
  if (threadIdx.x < Shape::kLevels) load_level(p.net.grid, p.level_weights, threadIdx.x, shared.levels + threadIdx.x);
  for (int k = 0; k <= layers; ++k) {
    const FieldLayer layer = field_layer(inputs, W, layers, k);
    const int stride = k == 0 ? Shape::kInStride : Shape::kStride, rows = k == layers ? 8 : W;
    __half* to = shared.weights + (k == 0 ? 0 : Shape::middle(k));
#pragma unroll 4
    for (int row = threadIdx.x >> 5; row < rows; row += warps) {
      for (int column = lane; column < stride; column += 32) {
        const bool real = row < layer.out && column < layer.in;
        const float w = real ? p.mlp[layer.weight + row * layer.in + column] : 0.0f;
        const __half high = __float2half_rn(w);
        to[row * stride + column] = high;
        if (kSplit) to[row * stride + column + shared.low] = __float2half_rn(w - __half2float(high));
      }
    }
    for (int i = threadIdx.x; i < rows; i += blockDim.x) {
      shared.bias[k * W + i] = i < layer.out ? p.mlp[layer.bias + i] : 0.0f;
    }
  }
  return shared;
}

// Which units are active, 4 bits per C tile. NaN counts as inactive but stays NaN in the value.
struct Masks {
  std::uint32_t* bits;  // the lane's words, [layer, word] with a stride of 32
  int words;
  __device__ __forceinline__ std::uint32_t& word(int layer, int tile) const {
    return bits[(layer * words + tile / 8) * 32];
  }
};

#if DFAST_TENSOR_CORES

// Multiplies S batches of 16 samples (values and tangents, or adjoints of both orders) by one weight matrix: a W^T for
// kTrans = false, a W for true. begin(s, tile, c) initialises the sums of 8 columns, end(s, tile, c) consumes them. The
// batches of a tile follow one another.
template <bool kTrans, int S, int K, int N, class Begin, class End>
__device__ __forceinline__ void multiply(const std::uint32_t (&a)[S][K][4], const __half* weights, int stride,
                                         const Begin& begin, const End& end) {
  static_assert(N % 2 == 0, "columns come in pairs of tiles");
  const int lane = threadIdx.x & 31;
  const __half* row = kTrans ? weights + ((lane & 7) + ((lane >> 3) & 1) * 8) * stride + (lane >> 4) * 8
                             : weights + ((lane & 7) + (lane >> 4) * 8) * stride + ((lane >> 3) & 1) * 8;
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    float c[2][S][4];
#pragma unroll
    for (int s = 0; s < S; ++s) begin(s, n, c[0][s]), begin(s, n + 1, c[1][s]);
#pragma unroll
    for (int k = 0; k < K; ++k) {
      std::uint32_t b[4];
      load_matrices<kTrans>(b, kTrans ? row + 16 * k * stride + 8 * n : row + 8 * n * stride + 16 * k);
#pragma unroll
      for (int s = 0; s < S; ++s) {
        multiply_add(c[0][s], a[s][k], b[0], b[1]);
        multiply_add(c[1][s], a[s][k], b[2], b[3]);
      }
    }
#pragma unroll
    for (int s = 0; s < S; ++s) end(s, n, c[0][s]);
#pragma unroll
    for (int s = 0; s < S; ++s) end(s, n + 1, c[1][s]);
  }
}

// Multiplies with 22 bits of each factor, in high and low halves: (a + a') (w + w') without a' w'. A single product of
// halves gives one unit in a thousand the wrong sign, and each of those changes the normal by a step.
template <int K, int N, class Begin, class End>
__device__ __forceinline__ void multiply_split(const std::uint32_t (&high)[K][4], const std::uint32_t (&low)[K][4],
                                               const __half* weights, int to_low, int stride, const Begin& begin,
                                               const End& end) {
  const int lane = threadIdx.x & 31;
  const __half* row = weights + ((lane & 7) + (lane >> 4) * 8) * stride + ((lane >> 3) & 1) * 8;
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    float c[2][4];
    begin(n, c[0]), begin(n + 1, c[1]);
#pragma unroll
    for (int k = 0; k < K; ++k) {
      std::uint32_t b[4];
      load_matrices<false>(b, row + to_low + 8 * n * stride + 16 * k);
      multiply_add(c[0], high[k], b[0], b[1]), multiply_add(c[1], high[k], b[2], b[3]);
      load_matrices<false>(b, row + 8 * n * stride + 16 * k);
      multiply_add(c[0], low[k], b[0], b[1]), multiply_add(c[1], low[k], b[2], b[3]);
      multiply_add(c[0], high[k], b[0], b[1]), multiply_add(c[1], high[k], b[2], b[3]);
    }
    end(n, c[0]), end(n + 1, c[1]);
  }
}

__device__ __forceinline__ void start_at_zero(float (&c)[4]) { c[0] = c[1] = c[2] = c[3] = 0.0f; }

__device__ __forceinline__ void start_at_bias(const float* bias, int tile, float (&c)[4]) {
  const float2 b = *reinterpret_cast<const float2*>(bias + 8 * tile + 2 * (threadIdx.x & 3));
  c[0] = c[2] = b.x, c[1] = c[3] = b.y;
}

// Packs C tile `tile` as a part of the next product's A fragment.
template <int K>
__device__ __forceinline__ void put(std::uint32_t (&a)[K][4], int tile, const float (&c)[4]) {
  a[tile / 2][(tile & 1) * 2] = pack_half(c[0], c[1]);
  a[tile / 2][(tile & 1) * 2 + 1] = pack_half(c[2], c[3]);
}

// Rounds two numbers to half (high), and the rests of the rounding (low).
__device__ __forceinline__ void split(float x, float y, std::uint32_t& high, std::uint32_t& low) {
  high = pack_half(x, y);
  const float2 rounded = unpack_half(high);
  low = pack_half(x - rounded.x, y - rounded.y);
}

template <int K>
__device__ __forceinline__ void put_split(std::uint32_t (&high)[K][4], std::uint32_t (&low)[K][4], int tile,
                                          const float (&c)[4]) {
  const int k = tile / 2, i = (tile & 1) * 2;
  split(c[0], c[1], high[k][i], low[k][i]);
  split(c[2], c[3], high[k][i + 1], low[k][i + 1]);
}

__device__ __forceinline__ std::uint32_t rectify(float (&c)[4]) {
  std::uint32_t bits = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    bits |= static_cast<std::uint32_t>(c[i] > 0.0f) << i;
    c[i] = c[i] < 0.0f ? 0.0f : c[i];
  }
  return bits;
}

__device__ __forceinline__ void mask(float (&c)[4], std::uint32_t bits) {
#pragma unroll
  for (int i = 0; i < 4; ++i) c[i] = bits >> i & 1u ? c[i] : 0.0f;
}

// Adds the last layer's product: four outputs, columns 2p and 2p + 1 of lanes p = 0, 1. `bias` is null to continue.
template <int W, int KT>
__device__ __forceinline__ void outputs(const std::uint32_t (&h)[W / 16][4], const __half* weights, const float* bias,
                                        float (&c)[4]) {
  const int lane = threadIdx.x & 31;
  const __half* row = weights + (lane & 7) * FieldShape<W, KT>::kStride + ((lane >> 3) & 1) * 8;
  if (bias) start_at_bias(bias, 0, c);
#pragma unroll
  for (int k = 0; k < W / 16; ++k) {
    std::uint32_t b[2];
    load_matrices<false>(b, row + 16 * k);
    multiply_add(c, h[k], b[0], b[1]);
  }
}

// Computes a_H = W_{H+1}[0] * m_H for both rows of the lane.
template <int W, int KT>
__device__ __forceinline__ void first_adjoint(const FieldShared& shared, int layers, const Masks& masks,
                                              std::uint32_t (&a)[W / 16][4]) {
  using Shape = FieldShape<W, KT>;
  const __half* row = shared.weights + Shape::last(layers) + 2 * (threadIdx.x & 3);
#pragma unroll
  for (int tile = 0; tile < W / 8; ++tile) {
    const float2 w = unpack_half(*reinterpret_cast<const std::uint32_t*>(row + 8 * tile));
    float c[4] = {w.x, w.y, w.x, w.y};
    mask(c, masks.word(layers - 1, tile) >> (4 * (tile % 8)));
    put(a, tile, c);
  }
}

#endif

// Maps world [-1, 1] to the grid's [0, 1]. NaN stays NaN.
__device__ __forceinline__ float unit_of(float x) {
  const float above = x < -1.0f ? -1.0f : x;
  return ((above > 1.0f ? 1.0f : above) + 1.0f) * 0.5f;
}

// The lane's two samples of a tile of 16: rows q and q + 8 are samples 2q and 2q + 1, neighbours along a ray.
struct FieldPoints {
  std::int64_t index[2];
  bool valid[2];
  bool any;          // whether the tile has any sample
  float x[2][3];     // world
  float unit[2][3];  // in [0, 1]

  __device__ __forceinline__ FieldPoints(const FieldArgs& p, std::int64_t n, std::int64_t tile) : any(16 * tile < n) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const std::int64_t i = 16 * tile + 2 * ((threadIdx.x & 31) >> 2) + r;
      valid[r] = i < n;
      index[r] = valid[r] ? i : n - 1;
#pragma unroll
      for (int k = 0; k < 3; ++k) {
        x[r][k] = p.x[3 * index[r] + k];
        unit[r][k] = unit_of(x[r][k]);
      }
    }
  }
};

// What the forward pass saves of 16 samples, [words, lane] (see field_saved_words): which units are active, and the
// encoding, which saves another gather. Without gradient these are the first layer's A fragments. With gradient, if
// keeps_jacobian is set, they are the encoding and its Jacobian for each of the lane's levels and two samples.
template <int W, int KT>
struct Saved {
  std::uint32_t* first;  // the tile's first word, in all lanes
  int words;
  std::uint32_t* masks;   // [layer, word]
  std::uint32_t* inputs;  // [KT, 4], without gradient
  uint4* gathered;        // [2 KT, 2], with gradient
  __device__ __forceinline__ Saved(const FieldArgs& p, std::int64_t tile, bool gradient) {
    const int active = p.net.layers * FieldShape<W, KT>::kMaskWords, lane = threadIdx.x & 31;
    words = active + (!gradient ? 4 * KT : p.keeps_jacobian ? 16 * KT : 0);
    first = p.saved + tile * (words * 32);
    masks = first + lane;
    inputs = masks + active * 32;
    gathered = reinterpret_cast<uint4*>(first + active * 32) + lane;
  }
};

__device__ __forceinline__ std::int64_t points_of(const FieldArgs& p) {
  if (!p.count) return p.n;
  const std::int64_t count = *p.count;
  return count < p.n ? count : p.n;
}

}  // namespace dfast::cuda
