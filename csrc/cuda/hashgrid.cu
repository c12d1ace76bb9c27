// The hash grid on the device. Letters are those of ops/hashgrid.h.
//
// Encoding and scatter: a thread owns one (sample, level) pair. Blocks are level-major (blockIdx.y), so that at any
// time the reads of the whole device fall into the rows of a few levels, which fit into L2. Both are bound by L2 sector
// traffic: each thread reads eight rows of F numbers, one vector load each. J^T a is summed over levels by one thread
// per sample, without atomics and in a fixed order. Grids with two features, the usual ones, have kernels of their own:
// hash_encode_half2_kernel here, and the float sums of hash_scatter.cuh. Sums that must not depend on the order are
// 64-bit fixed point.
#include <type_traits>

#include "cuda/hash_scatter.cuh"
#include "cuda/launch.h"
#include "ops/hashgrid.h"

namespace dfast::cuda {
namespace {

constexpr int kBlock = 256;

template <typename T>
struct Cell {
  std::uint32_t row[8];
  T w[3], d[3], dd[3];
};

template <typename T>
__device__ __forceinline__ Cell<T> locate(const HashLevel& level, bool smooth, const T* __restrict__ x) {
  Cell<T> cell;
  const T scale = static_cast<T>(level.scale), top = static_cast<T>(level.resolution - 1);
  std::int32_t low[3];
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const HashAxis<T> axis = smooth ? hash_axis<true>(x[k], scale, top) : hash_axis<false>(x[k], scale, top);
    low[k] = axis.low, cell.w[k] = axis.w, cell.d[k] = axis.d, cell.dd[k] = axis.dd;
  }
  if (level.dense) {
    hash_rows<true>(low[0], low[1], low[2], level, cell.row);
  } else {
    hash_rows<false>(low[0], low[1], low[2], level, cell.row);
  }
  return cell;
}

// Computes e, or J u when u is given. Grid: (samples, levels).
template <int F, typename T, typename V>
__global__ void __launch_bounds__(kBlock)
    hash_encode_kernel(const HashGrid grid, std::int64_t n, const T* __restrict__ x,
                       const HashRow<V, F>* __restrict__ table, const T* __restrict__ weights, const T* __restrict__ u,
                       T* __restrict__ out) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const int l = blockIdx.y;
  if (i >= n) return;
  HashRow<T, F>* to = reinterpret_cast<HashRow<T, F>*>(out) + i * grid.levels + l;
  HashRow<T, F> e = {};
  const T lw = weights ? weights[l] : T(1);
  if (lw != T(0)) {
    const Cell<T> cell = locate(grid.level[l], grid.smooth, x + 3 * i);
    T c[8];
    if (u) {
      const T ui[3] = {u[3 * i], u[3 * i + 1], u[3 * i + 2]};
      corner_slopes(cell.w, cell.d, ui, c);
    } else {
      corner_weights(cell.w, c);
    }
    hash_gather<F>(table + grid.level[l].offset, cell.row, c, e.v);
#pragma unroll
    for (int f = 0; f < F; ++f) e.v[f] *= lw;
  }
  *to = e;
}

// Computes e from rows of two halves. A lane takes a sample, so that on coarse levels a warp's reads fall into few
// cache lines. The results of four levels are transposed in shared memory, so that four lanes write one sector of the
// output.
__global__ void __launch_bounds__(kBlock, 4)
    hash_encode_half2_kernel(const HashGrid grid, std::int64_t n, const float* __restrict__ x,
                             const std::uint32_t* __restrict__ table_half, const float* __restrict__ weights,
                             float* __restrict__ out) {
  __shared__ FieldLevel levels[kMaxLevels];
  __shared__ float2 transposed[kBlock / 32][32][5];
  if (threadIdx.x < kMaxLevels) load_level(grid, weights, threadIdx.x, levels + threadIdx.x);
  __syncthreads();
  const int lane = threadIdx.x & 31;
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kBlock + threadIdx.x) & ~std::int64_t(31);
  if (first >= n) return;
  const std::int64_t i = first + lane < n ? first + lane : n - 1;
  const float at[3] = {x[3 * i], x[3 * i + 1], x[3 * i + 2]};
  float2(&own)[32][5] = transposed[threadIdx.x >> 5];
  for (int group = 0; group < grid.levels; group += 4) {
#pragma unroll
    for (int l = 0; l < 4; ++l) {
      const FieldLevel level = levels[group + l];
      float value[2] = {}, slope[3][2];
      if (level.weight != 0.0f) {
        const FieldCell cell = locate<false>(level, grid.smooth, at);
        std::uint32_t corner[8];
        read_corners<false>(table_half, level, cell, corner);
        interpolate<false>(corner, cell.w, value, slope);
      }
      own[lane][l] = make_float2(level.weight * value[0], level.weight * value[1]);
    }
    __syncwarp();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int row = 8 * k + (lane >> 2), l = group + (lane & 3);
      if (first + row < n && l < grid.levels) {
        __stcs(reinterpret_cast<float2*>(out) + (first + row) * grid.levels + l, own[row][lane & 3]);
      }
    }
    __syncwarp();
  }
}

// Computes J^T a, or its derivative along u when u is given. Grid: (samples).
template <int F, typename T, typename V>
__global__ void __launch_bounds__(kBlock)
    hash_encode_vjp_kernel(const HashGrid grid, std::int64_t n, const T* __restrict__ x,
                           const HashRow<V, F>* __restrict__ table, const T* __restrict__ weights,
                           const T* __restrict__ a, const T* __restrict__ u, T* __restrict__ out) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (i >= n) return;
  T g[3] = {T(0), T(0), T(0)};
  for (int l = 0; l < grid.levels; ++l) {
    const T lw = weights ? weights[l] : T(1);
    if (lw == T(0)) continue;
    const Cell<T> cell = locate(grid.level[l], grid.smooth, x + 3 * i);
    const HashRow<T, F> al = reinterpret_cast<const HashRow<T, F>*>(a)[i * grid.levels + l];
    T s[8];
    hash_contract<F>(table + grid.level[l].offset, cell.row, al.v, s);
    if (u) {
      const T ui[3] = {u[3 * i], u[3 * i + 1], u[3 * i + 2]};
      add_hessian_product(s, cell.w, cell.d, cell.dd, ui, lw, g);
    } else {
      add_gradient(s, cell.w, cell.d, lw, g);
    }
  }
  for (int k = 0; k < 3; ++k) out[3 * i + k] = g[k];
}

template <int F, typename T>
__device__ __forceinline__ void add_row(HashRow<T, F>* to, const HashRow<T, F>& value) {
  if constexpr (std::is_same_v<T, float> && DFAST_VECTOR_ATOMICS && F % 4 == 0) {
#pragma unroll
    for (int f = 0; f < F; f += 4) {
      atomicAdd(reinterpret_cast<float4*>(to->v + f),
                make_float4(value.v[f], value.v[f + 1], value.v[f + 2], value.v[f + 3]));
    }
  } else {
#pragma unroll
    for (int f = 0; f < F; ++f) atomicAdd(to->v + f, value.v[f]);
  }
}

struct RowSource {
  static constexpr bool kInside = false;
  std::int64_t n;
  int levels;
  const float* x;
  const float* d0;  // nullable
  const float* u;
  const float* a0;

  __device__ __forceinline__ std::int64_t count() const { return n; }
  __device__ __forceinline__ void point(std::int64_t i, float (&to)[3]) const {
    for (int k = 0; k < 3; ++k) to[k] = __ldg(x + 3 * i + k);
  }
  __device__ __forceinline__ void direction(std::int64_t i, float (&to)[3]) const {
    for (int k = 0; k < 3; ++k) to[k] = __ldg(u + 3 * i + k);
  }
  __device__ __forceinline__ void adjoint(std::int64_t i, int level, float (&to)[2]) const {
    const float2 d = d0 ? __ldg(reinterpret_cast<const float2*>(d0) + i * levels + level) : make_float2(0.0f, 0.0f);
    to[0] = d.x, to[1] = d.y;
  }
  __device__ __forceinline__ void second(std::int64_t i, int level, float (&to)[2]) const {
    const float2 a = __ldg(reinterpret_cast<const float2*>(a0) + i * levels + level);
    to[0] = a.x, to[1] = a.y;
  }
};

// Scatters for all other grids. Grid: (samples, levels). Samples whose terms are all zero are skipped.
template <int F, typename T>
__global__ void __launch_bounds__(kBlock)
    hash_scatter_kernel(const HashGrid grid, std::int64_t n, const T* __restrict__ x, const T* __restrict__ weights,
                        const T* __restrict__ d0, const T* __restrict__ u, const T* __restrict__ a0,
                        T* __restrict__ out, std::int64_t* __restrict__ fixed, const double* __restrict__ fixed_unit) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const int l = blockIdx.y;
  if (i >= n) return;
  const T lw = weights ? weights[l] : T(1);
  if (lw == T(0)) return;
  HashRow<T, F> p = {}, q = {};
  if (d0) p = reinterpret_cast<const HashRow<T, F>*>(d0)[i * grid.levels + l];
  if (u) q = reinterpret_cast<const HashRow<T, F>*>(a0)[i * grid.levels + l];
  bool any = false;
#pragma unroll
  for (int f = 0; f < F; ++f) any |= p.v[f] != T(0) || q.v[f] != T(0);
  if (!any) return;

  const HashLevel& level = grid.level[l];
  const Cell<T> cell = locate(level, grid.smooth, x + 3 * i);
  T w[8], s[8] = {};
  corner_weights(cell.w, w);
  if (u) {
    const T ui[3] = {u[3 * i], u[3 * i + 1], u[3 * i + 2]};
    corner_slopes(cell.w, cell.d, ui, s);
  }
  const double per_unit = fixed ? 1.0 / *fixed_unit : 0.0;
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    HashRow<T, F> value;
#pragma unroll
    for (int f = 0; f < F; ++f) value.v[f] = lw * (w[c] * p.v[f] + s[c] * q.v[f]);
    const std::int64_t row = level.offset + cell.row[c];
    if (fixed) {
#pragma unroll
      for (int f = 0; f < F; ++f) {
        const long long counts = __double2ll_rn(static_cast<double>(value.v[f]) * per_unit);
        atomicAdd(reinterpret_cast<unsigned long long*>(fixed) + row * F + f, static_cast<unsigned long long>(counts));
      }
    } else {
      add_row<F>(reinterpret_cast<HashRow<T, F>*>(out) + row, value);
    }
  }
}

// Converts fixed-point sums. A unit that is not finite, because some term was not, makes every sum NaN.
template <typename T>
__global__ void __launch_bounds__(kBlock)
    from_fixed_kernel(std::int64_t count, const std::int64_t* __restrict__ fixed, const double* __restrict__ fixed_unit,
                      T* __restrict__ out) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (i >= count) return;
  const double unit = *fixed_unit;
  out[i] += static_cast<T>(static_cast<double>(fixed[i]) * (unit - unit == 0.0 ? unit : unit - unit));
}

// Calls f(rows) with the table's rows in their stored type.
template <int F, typename T, typename Body>
void with_rows(const T* table, const Half* table_half, const Body& f) {
  if constexpr (std::is_same_v<T, float>) {
    if (table_half) return f(reinterpret_cast<const HashRow<Half, F>*>(table_half));
  }
  f(reinterpret_cast<const HashRow<T, F>*>(table));
}

template <typename T>
void encode(Launch launch, const HashGridParams<T>& p, const T* u, T* out) {
  if (p.n == 0) return;
  const DeviceGuard guard(launch.device);
  if constexpr (std::is_same_v<T, float>) {
    if (p.table_half && !u && p.grid.features == 2) {
      hash_encode_half2_kernel<<<blocks_for(p.n, kBlock), kBlock, 0, stream_of(launch)>>>(
          p.grid, p.n, p.x, reinterpret_cast<const std::uint32_t*>(p.table_half), p.level_weights, out);
      return check(cudaGetLastError(), "hash grid encoding");
    }
  }
  const dim3 blocks(blocks_for(p.n, kBlock), p.grid.levels);
  with_features(p.grid.features, [&](auto features) {
    constexpr int F = decltype(features)::value;
    with_rows<F>(p.table, p.table_half, [&](const auto* rows) {
      hash_encode_kernel<F><<<blocks, kBlock, 0, stream_of(launch)>>>(p.grid, p.n, p.x, rows, p.level_weights, u, out);
    });
  });
  check(cudaGetLastError(), "hash grid encoding");
}

template <typename T>
void encode_vjp(Launch launch, const HashGridParams<T>& p, const T* a, const T* u, T* out) {
  if (p.n == 0) return;
  const DeviceGuard guard(launch.device);
  with_features(p.grid.features, [&](auto features) {
    constexpr int F = decltype(features)::value;
    with_rows<F>(p.table, p.table_half, [&](const auto* rows) {
      hash_encode_vjp_kernel<F><<<blocks_for(p.n, kBlock), kBlock, 0, stream_of(launch)>>>(p.grid, p.n, p.x, rows,
                                                                                           p.level_weights, a, u, out);
    });
  });
  check(cudaGetLastError(), "hash grid gradient");
}

}  // namespace

template <typename T>
void hash_encode(Launch launch, const HashEncodeParams<T>& p) {
  encode<T>(launch, p.at, nullptr, p.out);
}

template <typename T>
void hash_jvp(Launch launch, const HashJvpParams<T>& p) {
  encode<T>(launch, p.at, p.u, p.out);
}

template <typename T>
void hash_encode_grad(Launch launch, const HashEncodeGradParams<T>& p) {
  encode_vjp<T>(launch, p.at, p.a, nullptr, p.out);
}

template <typename T>
void hash_hvp(Launch launch, const HashHvpParams<T>& p) {
  encode_vjp<T>(launch, p.at, p.a, p.u, p.out);
}

template <typename T>
void hash_scatter(Launch launch, const HashScatterParams<T>& p) {
  if (p.n == 0) return;
  const DeviceGuard guard(launch.device);
  if constexpr (std::is_same_v<T, float>) {
    if (p.grid.features == 2 && !p.fixed) {
      const RowSource source = {p.n, p.grid.levels, p.x, p.d0, p.u, p.a0};
      return p.u ? scatter_samples<true>(launch, p.grid, p.level_weights, p.n, source, p.out)
                 : scatter_samples<false>(launch, p.grid, p.level_weights, p.n, source, p.out);
    }
  }
  const dim3 blocks(blocks_for(p.n, kBlock), p.grid.levels);
  with_features(p.grid.features, [&](auto features) {
    constexpr int F = decltype(features)::value;
    hash_scatter_kernel<F><<<blocks, kBlock, 0, stream_of(launch)>>>(p.grid, p.n, p.x, p.level_weights, p.d0, p.u, p.a0,
                                                                     p.out, p.fixed, p.fixed_unit);
  });
  check(cudaGetLastError(), "hash grid scatter");
  if (p.fixed) {
    const std::int64_t count = p.entries * p.grid.features;
    from_fixed_kernel<<<blocks_for(count, kBlock), kBlock, 0, stream_of(launch)>>>(count, p.fixed, p.fixed_unit, p.out);
    check(cudaGetLastError(), "hash grid fixed-point sums");
  }
}

DFAST_HASHGRID(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
