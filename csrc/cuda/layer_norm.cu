// A warp takes a row. Where a lane's part of it fits into registers every number is read once; longer rows are read
// three times, mostly from L1.
#include "ops/layer_norm.h"

#include "cuda/launch.h"
#include "cuda/vector.h"
#include "cuda/warp.h"

namespace dfast::cuda {

namespace {

constexpr int kWarps = 4;  // of a block

// kHeld: vectors of a row that a lane keeps in registers, 0 for none.
template <class S, int W, int kHeld>
__global__ void __launch_bounds__(32 * kWarps) layer_norm_kernel(const LayerNormParams<S> p) {
  using T = typename Arithmetic<S>::type;
  using V = Vector<S, W>;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= p.rows) return;
  const int lane = threadIdx.x % 32, vectors = static_cast<int>(p.channels / W);
  const int64_t first = row * vectors;
  const auto read = [&](int i, T(&to)[W]) {
    const V x = reinterpret_cast<const V*>(p.x)[first + i];
#pragma unroll
    for (int j = 0; j < W; ++j) to[j] = widen<T>(x.v[j]);
    if (!p.add) return;
    const V add = reinterpret_cast<const V*>(p.add)[first + i];
#pragma unroll
    for (int j = 0; j < W; ++j) to[j] += widen<T>(add.v[j]);
  };
  T held[kHeld > 0 ? kHeld : 1][W];
  if constexpr (kHeld > 0) {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      if (lane + 32 * k < vectors) read(lane + 32 * k, held[k]);
    }
  }
  // Calls use(i, values) for this lane's vectors of the row.
  const auto each = [&](const auto& use) {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int k = 0; k < kHeld; ++k) {
        if (lane + 32 * k < vectors) use(lane + 32 * k, held[k]);
      }
    } else {
      for (int i = lane; i < vectors; i += 32) {
        read(i, held[0]);
        use(i, held[0]);
      }
    }
  };

  // Differences from the row's first number are small where the mean is far from zero.
  if constexpr (kHeld == 0) {
    if (lane == 0) read(0, held[0]);
  }
  const T origin = __shfl_sync(~0u, held[0][0], 0);
  T sum = 0;
  each([&](int, const T(&v)[W]) {
#pragma unroll
    for (int j = 0; j < W; ++j) sum += v[j] - origin;
  });
  const T mean = origin + warp_sum(sum) / T(p.channels);
  T squares = 0;
  each([&](int, const T(&v)[W]) {
#pragma unroll
    for (int j = 0; j < W; ++j) squares += (v[j] - mean) * (v[j] - mean);
  });
  const T rstd = T(1) / sqrt(warp_sum(squares) / T(p.channels) + p.eps);
  each([&](int i, const T(&v)[W]) {
    const V weight = reinterpret_cast<const V*>(p.weight)[i], bias = reinterpret_cast<const V*>(p.bias)[i];
    V total, y;
#pragma unroll
    for (int j = 0; j < W; ++j) {
      total.v[j] = narrow<S>(v[j]);
      y.v[j] = layer_normalized(v[j], mean, rstd, weight.v[j], bias.v[j]);
    }
    if (p.sum) reinterpret_cast<V*>(p.sum)[first + i] = total;
    reinterpret_cast<V*>(p.y)[first + i] = y;
  });
}

template <class S, int W>
void run(const Launch& launch, const LayerNormParams<S>& p) {
  const int64_t of_lane = (p.channels / W + 31) / 32;
  const auto start = [&](auto held) {
    layer_norm_kernel<S, W, decltype(held)::value>
        <<<blocks_for(p.rows, kWarps), 32 * kWarps, 0, stream_of(launch)>>>(p);
  };
  if (of_lane <= 2) {
    start(std::integral_constant<int, 2>());
  } else if (of_lane <= 3) {
    start(std::integral_constant<int, 3>());
  } else if (of_lane <= 5) {
    start(std::integral_constant<int, 5>());
  } else {
    start(std::integral_constant<int, 0>());
  }
}

}  // namespace

template <class S>
void layer_norm(Launch launch, const LayerNormParams<S>& p) {
  if (p.rows * p.channels == 0) return;
  const DeviceGuard guard(launch.device);
  const bool vectors = p.channels % kWidest<S> == 0 && aligned16({p.x, p.add, p.weight, p.bias, p.sum, p.y});
  vectors ? run<S, kWidest<S>>(launch, p) : run<S, 1>(launch, p);
  check(cudaGetLastError(), "layer_norm");
}

DFAST_LAYER_NORM(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
