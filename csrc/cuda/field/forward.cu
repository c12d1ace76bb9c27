// The field's forward pass: each warp encodes, multiplies and finishes 16 samples at a time in its registers.
//
// The gather of a level yields value and Jacobian from the same eight reads. After the reverse pass through the MLP the
// lane that gathered a level's Jacobian also holds that level's a_0, so g = J^T a_0 is a local sum and two shuffles.
// Letters are those of csrc/ops/field.h; names with `low` hold what rounding a number to half left.
#include "cuda/field/launch.h"
#include "cuda/field/mlp.cuh"

namespace dfast::cuda {
namespace {

constexpr int kThreads = 128;

// Multiplies by all hidden layers with 22 bits of each factor, leaves h_H in `h` and `h_low`, and records which units
// are active.
template <int W, int KT>
__device__ __forceinline__ void hidden_layers(const FieldShared& shared, int layers, const Masks& masks,
                                              const std::uint32_t (&e)[KT][4], const std::uint32_t (&e_low)[KT][4],
                                              std::uint32_t (&h)[W / 16][4], std::uint32_t (&h_low)[W / 16][4]) {
  using Shape = FieldShape<W, KT>;
  std::uint32_t next[W / 16][4], next_low[W / 16][4], word = 0;
  int layer = 0;
  const auto begin = [&](int t, float (&c)[4]) { start_at_bias(shared.bias + layer * W, t, c); };
  const auto end = [&](int t, float (&c)[4]) {
    word = (t % 8 ? word : 0) | rectify(c) << (4 * (t % 8));
    if (t % 8 == 7 || t == W / 8 - 1) masks.word(layer, t) = word;
    put_split(next, next_low, t, c);
  };
  const auto advance = [&] {
#pragma unroll
    for (int k = 0; k < W / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) h[k][i] = next[k][i], h_low[k][i] = next_low[k][i];
    }
  };
  multiply_split<KT, W / 8>(e, e_low, shared.weights, shared.low, Shape::kInStride, begin, end);
  advance();
#pragma unroll 1
  for (layer = 1; layer < layers; ++layer) {
    multiply_split<W / 16, W / 8>(h, h_low, shared.weights + Shape::middle(layer), shared.low, Shape::kStride, begin,
                                  end);
    advance();
  }
}

// Computes g = J^T a_0 of the lane's samples: the adjoints of the first output through the layers, whose last product
// is contracted with the Jacobians. `h` holds the adjoints.
template <int W, int KT>
__device__ __forceinline__ void logit_gradient(const FieldShared& shared, int layers, const Masks& masks,
                                               const std::uint32_t (&jacobian)[2 * KT][2][3],
                                               std::uint32_t (&h)[1][W / 16][4], float (&g)[2][3]) {
  using Shape = FieldShape<W, KT>;
  std::uint32_t next[W / 16][4];
  first_adjoint<W, KT>(shared, layers, masks, h[0]);
#pragma unroll 1
  for (int layer = layers - 1; layer > 0; --layer) {
    multiply<true, 1, W / 16, W / 8>(
        h, shared.weights + Shape::middle(layer), Shape::kStride, [](int, int, float (&c)[4]) { start_at_zero(c); },
        [&](int, int tile, float (&c)[4]) {
          mask(c, masks.word(layer - 1, tile) >> (4 * (tile % 8)));
          put(next, tile, c);
        });
#pragma unroll
    for (int k = 0; k < W / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) h[0][k][i] = next[k][i];
    }
  }
  multiply<true, 1, W / 16, 2 * KT>(
      h, shared.weights, Shape::kInStride, [](int, int, float (&c)[4]) { start_at_zero(c); },
      [&](int, int j, float (&c)[4]) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
#pragma unroll
          for (int k = 0; k < 3; ++k) {
            const float2 slope = unpack_half(jacobian[j][r][k]);
            g[r][k] += c[2 * r] * slope.x + c[2 * r + 1] * slope.y;
          }
        }
      });
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      g[r][k] += __shfl_xor_sync(~0u, g[r][k], 1);
      g[r][k] += __shfl_xor_sync(~0u, g[r][k], 2);
    }
  }
}

// Writes density, albedo and gradient of the lane's samples from their outputs o.
template <bool kGradient>
__device__ __forceinline__ void write_results(const FieldArgs& p, const FieldPoints& points, const float (&o)[4],
                                              const float (&g)[2][3]) {
  const int lane_in_quad = threadIdx.x & 3;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (!points.valid[r]) continue;
    const std::int64_t i = points.index[r];
    if (lane_in_quad == 1) p.albedo[3 * i + 1] = sigmoid(o[2 * r]), p.albedo[3 * i + 2] = sigmoid(o[2 * r + 1]);
    if (lane_in_quad != 0) continue;
    float bump[3], slope;
    const float blob = blob_of(p.net.head, points.x[r], bump);
    p.density[i] = density_of(p.net.head, o[2 * r] + static_cast<float>(p.net.head.bias) + blob, &slope);
    p.albedo[3 * i] = sigmoid(o[2 * r + 1]);
    if constexpr (kGradient) {
#pragma unroll
      for (int k = 0; k < 3; ++k) p.gradient[3 * i + k] = 0.5f * g[r][k] + bump[k];  // d unit / dx = 1/2
    }
  }
}

// kRays: samples are neighbours on rays, so that most reads find their line in L1. A single copy of the gather is
// faster then, because the unrolled loop exceeds the instruction cache. Otherwise the number of reads in flight counts.
template <int W, int KT, bool kGradient, bool kRays>
__global__ void __launch_bounds__(kThreads, W == 128 ? 1
                                            : kRays  ? 4
                                                     : 3) forward_kernel(const FieldArgs p) {
#if DFAST_TENSOR_CORES
  using Shape = FieldShape<W, KT>;
  extern __shared__ __align__(16) unsigned char memory[];
  const FieldShared shared = load_net<W, KT, true>(p, memory);
  const int layers = p.net.layers, lane = threadIdx.x & 31, warp = threadIdx.x >> 5, lane_in_quad = lane & 3;
  const Masks masks = {reinterpret_cast<std::uint32_t*>(memory + Shape::bytes(layers, true)) +
                           warp * (layers * Shape::kMaskWords * 32) + lane,
                       Shape::kMaskWords};
  __syncthreads();

  const std::int64_t n = points_of(p), tiles = (n + 15) / 16;
  const int warps = kThreads / 32;
  for (std::int64_t tile = static_cast<std::int64_t>(blockIdx.x) * warps + warp; tile < tiles;
       tile += static_cast<std::int64_t>(gridDim.x) * warps) {
    const FieldPoints points(p, n, tile);
    const Saved<W, KT> saved(p, tile, kGradient);

    // ---- Encode the lane's two samples in its levels; one reading of the table yields value and Jacobian. (As a
    // function of its own, this loop compiles to other code: the compiler then unrolls it.)
    std::uint32_t e[KT][4], e_low[KT][4];
    std::uint32_t jacobian[kGradient ? 2 * KT : 1][2][3];  // pairs of halves
#pragma unroll(kRays ? 1 : 2 * KT)
    for (int j = 0; j < 2 * KT; ++j) {
      const FieldLevel level = shared.levels[4 * j + lane_in_quad];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float value[2] = {}, slope[3][2] = {};
        if (level.weight != 0.0f) {
          const FieldCell cell = locate<true>(level, p.net.grid.smooth, points.unit[r]);
          std::uint32_t corner[8];
          read_corners<true>(p.table_half, level, cell, corner);
          interpolate<kGradient>(corner, cell.w, value, slope);
          if constexpr (kGradient) {
#pragma unroll
            for (int k = 0; k < 3; ++k) {
              slope[k][0] *= level.weight * cell.d[k], slope[k][1] *= level.weight * cell.d[k];
            }
          }
        }
        const int i = (j & 1) * 2 + r;
        split(level.weight * value[0], level.weight * value[1], e[j / 2][i], e_low[j / 2][i]);
        if constexpr (kGradient) {
#pragma unroll
          for (int k = 0; k < 3; ++k) jacobian[j][r][k] = pack_half(slope[k][0], slope[k][1]);
          if (p.keeps_jacobian) {
            __stcs(saved.gathered + 32 * (2 * j + r),
                   make_uint4(e[j / 2][i], jacobian[j][r][0], jacobian[j][r][1], jacobian[j][r][2]));
          }
        }
      }
    }

    // ---- Multiply through the layers, differentiate the first output, write.
    std::uint32_t h[1][W / 16][4], h_low[W / 16][4];
    hidden_layers<W, KT>(shared, layers, masks, e, e_low, h[0], h_low);
    if (p.saved) {
      for (int i = 0; i < layers * Shape::kMaskWords; ++i) saved.masks[32 * i] = masks.bits[32 * i];
      if constexpr (!kGradient) {
#pragma unroll
        for (int i = 0; i < 4 * KT; ++i) __stcs(saved.inputs + 32 * i, e[i / 4][i % 4]);
      }
    }
    float o[4], g[2][3] = {};
    const __half* last = shared.weights + Shape::last(layers);
    outputs<W, KT>(h[0], last, shared.bias + layers * W, o);
    outputs<W, KT>(h_low, last, nullptr, o);
    outputs<W, KT>(h[0], last + shared.low, nullptr, o);
    if constexpr (kGradient) logit_gradient<W, KT>(shared, layers, masks, jacobian, h, g);
    write_results<kGradient>(p, points, o, g);
  }
#endif
}

template <int W, int KT, bool kGradient, bool kRays>
void launch_forward(const Launch& launch, const FieldArgs& p) {
  using Shape = FieldShape<W, KT>;
  const int layers = p.net.layers;
  const int bytes = Shape::bytes(layers, true) + (kThreads / 32) * layers * Shape::kMaskWords * 32 * 4;
  const auto kernel = forward_kernel<W, KT, kGradient, kRays>;
  const unsigned blocks = persistent_blocks(reinterpret_cast<const void*>(kernel), launch.device, kThreads, bytes,
                                            (p.n + kThreads / 2 - 1) / (kThreads / 2));
  kernel<<<blocks, kThreads, bytes, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "field_forward");
}

}  // namespace

template <class T>
void field_forward(Launch launch, const FieldForwardParams<T>& params) {
  if constexpr (!std::is_same_v<T, float>) {
    throw std::invalid_argument("field_forward on CUDA computes in half precision: float32 only");
  } else {
    if (params.field.n == 0) return;
    const DeviceGuard guard(launch.device);
    FieldArgs p = field_args(params.field);
    p.density = params.density, p.albedo = params.albedo, p.gradient = params.gradient;
    p.saved = params.saved, p.keeps_jacobian = params.saved && params.gradient && params.keeps_jacobian;
    const bool rays = p.count != nullptr;
    with_field_shape(p.net, [&](auto width, auto tiles) {
      constexpr int W = decltype(width)::value, KT = decltype(tiles)::value;
      const auto run = !p.gradient ? (rays ? launch_forward<W, KT, false, true> : launch_forward<W, KT, false, false>)
                       : rays      ? launch_forward<W, KT, true, true>
                                   : launch_forward<W, KT, true, false>;
      run(launch, p);
    });
  }
}

DFAST_FIELD_FORWARD(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
