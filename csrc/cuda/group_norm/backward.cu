// The backward pass of group normalisation to x: one kernel sums dn and dn n over splits of rows, a second one applies.
// Both are bound by memory traffic: x and dy are read twice, the second time from the L2 cache where that is large
// enough.
#include "cuda/group_norm/moments.cuh"

namespace dfast::cuda {

namespace {

using namespace norm;

// The sums of dn (plain) and of dn n (projected).
template <class T>
struct Sums {
  T plain, projected;
};

// The vectors of x and dy at one place.
template <class S, int W>
struct Both {
  Vector<S, W> x, dy;
};

// The maps of this thread's channels, see Channel.
template <class S, int W>
struct Normalized {
  using T = typename Arithmetic<S>::type;
  T shift[W], rstd[W], gain[W], offset[W];

  __device__ __forceinline__ Normalized(const GroupNormParams<S>& p, const T* stats, int64_t b, int64_t c) {
    const Channels<S, W> channels(p, b, c);
    const int of_group = static_cast<int>(p.channels / p.groups);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const T* s = stats + 2 * (b * p.groups + (static_cast<int>(c) + j) / of_group);
      shift[j] = channels.add[j] - s[0];
      rstd[j] = s[1];
      gain[j] = channels.gain[j];
      offset[j] = channels.offset[j];
    }
  }

  // Returns dn and writes n of channel j.
  template <class Kind>
  __device__ __forceinline__ T gradient(Kind kind, int j, S x, S dy, T& n) const {
    return normalized_gradient(Channel<T>{shift[j], rstd[j], gain[j], offset[j]}, kind, widen<T>(x), widen<T>(dy), n);
  }
};

// Reduces. Grid [splits, tiles, B]; writes the sums of a split's groups to parts [B, groups, splits].
template <class S, int W>
__global__ void __launch_bounds__(kThreads, kBlocks)
    sums_kernel(GroupNormParams<S> p, Tile tile, int each, const typename Arithmetic<S>::type* stats, const S* dy,
                Sums<typename Arithmetic<S>::type>* parts) {
  using T = typename Arithmetic<S>::type;
  extern __shared__ __align__(16) unsigned char shared[];
  T* table = reinterpret_cast<T*>(shared);  // [lanes, 2, tile channels]
  const int64_t b = blockIdx.z, begin = static_cast<int64_t>(blockIdx.x) * each;
  const int rows = static_cast<int>(p.rows - begin < each ? p.rows - begin : each);
  const int lane = threadIdx.x / tile.vectors, at = threadIdx.x % tile.vectors * W;
  const int64_t c = static_cast<int64_t>(blockIdx.y) * tile.channels + at;
  const S *x = p.x + (b * p.rows + begin) * p.channels + c, *d = dy + (x - p.x);
  if (lane < tile.lanes) {
    const Normalized<S, W> channels(p, stats, b, c);
    T plain[W] = {}, projected[W] = {};
    with_activation(p.activation, [&](auto kind) {
      for_rows<kDeep / 2>(
          rows, lane, tile.lanes,
          [&](int row) {
            return Both<S, W>{Channels<S, W>::read(x + row * p.channels), Channels<S, W>::read(d + row * p.channels)};
          },
          [&](int, const Both<S, W>& v) {
#pragma unroll
            for (int j = 0; j < W; ++j) {
              T n;
              const T dn = channels.gradient(kind(), j, v.x.v[j], v.dy.v[j], n);
              plain[j] += dn;
              projected[j] += dn * n;
            }
          });
    });
#pragma unroll
    for (int j = 0; j < W; ++j) {
      table[2 * lane * tile.channels + at + j] = plain[j];
      table[(2 * lane + 1) * tile.channels + at + j] = projected[j];
    }
  }
  add_lanes(table, tile.lanes, 2 * tile.channels);
  const int of_group = tile.channels / tile.groups;
  Sums<T>* out = parts + (b * p.groups + blockIdx.y * tile.groups) * gridDim.x + blockIdx.x;
  for (int g = threadIdx.x / 32; g < tile.groups; g += blockDim.x / 32) {
    T plain = 0, projected = 0;
    for (int i = threadIdx.x % 32; i < of_group; i += 32) {
      plain += table[g * of_group + i];
      projected += table[tile.channels + g * of_group + i];
    }
    plain = warp_sum(plain);
    projected = warp_sum(projected);
    if (threadIdx.x % 32 == 0) out[g * gridDim.x] = {plain, projected};
  }
}

// Applies. Grid [splits, tiles, B], the last splits first, because the cache still holds them.
template <class S, int W>
__global__ void __launch_bounds__(kThreads, kBlocks)
    gradient_kernel(GroupNormParams<S> p, Tile tile, int each, const typename Arithmetic<S>::type* stats, const S* dy,
                    const S* other, const Sums<typename Arithmetic<S>::type>* parts, S* dx) {
  using T = typename Arithmetic<S>::type;
  extern __shared__ __align__(16) unsigned char shared[];
  auto* means = reinterpret_cast<Sums<T>*>(shared);  // [tile groups]
  const int splits = gridDim.x, of_group = tile.channels / tile.groups;
  const int64_t b = blockIdx.z, begin = static_cast<int64_t>(splits - 1 - blockIdx.x) * each;
  const int rows = static_cast<int>(p.rows - begin < each ? p.rows - begin : each);
  const T numbers = T(p.rows) * of_group;
  for (int g = threadIdx.x / 32; g < tile.groups; g += blockDim.x / 32) {
    const Sums<T>* group_parts = parts + (b * p.groups + blockIdx.y * tile.groups + g) * splits;
    T plain = 0, projected = 0;
    for (int i = threadIdx.x % 32; i < splits; i += 32) {
      const Sums<T> s = group_parts[i];
      plain += s.plain;
      projected += s.projected;
    }
    plain = warp_sum(plain);
    projected = warp_sum(projected);
    if (threadIdx.x % 32 == 0) means[g] = {plain / numbers, projected / numbers};
  }
  __syncthreads();
  const int lane = threadIdx.x / tile.vectors, at = threadIdx.x % tile.vectors * W;
  if (lane >= tile.lanes) return;
  const int64_t c = static_cast<int64_t>(blockIdx.y) * tile.channels + at;
  const S *x = p.x + (b * p.rows + begin) * p.channels + c, *d = dy + (x - p.x);
  S* out = dx + (x - p.x);
  const Normalized<S, W> channels(p, stats, b, c);
  // dx = rstd (dn - <dn> - n <dn n>)
  T plain[W], projected[W];
#pragma unroll
  for (int j = 0; j < W; ++j) {
    plain[j] = means[(at + j) / of_group].plain;
    projected[j] = means[(at + j) / of_group].projected;
  }
  with_activation(p.activation, [&](auto kind) {
    for_rows<kDeep / 2>(
        rows, lane, tile.lanes,
        [&](int row) {
          return Both<S, W>{Channels<S, W>::read(x + row * p.channels), Channels<S, W>::read(d + row * p.channels)};
        },
        [&](int row, const Both<S, W>& v) {
          Vector<S, W> result, more{};
          if (other) more = Channels<S, W>::read(other + (x - p.x) + row * p.channels);
#pragma unroll
          for (int j = 0; j < W; ++j) {
            T n;
            const T dn = channels.gradient(kind(), j, v.x.v[j], v.dy.v[j], n);
            result.v[j] = narrow<S>(channels.rstd[j] * (dn - plain[j] - n * projected[j]) + widen<T>(more.v[j]));
          }
          *reinterpret_cast<Vector<S, W>*>(out + row * p.channels) = result;
        });
  });
}

template <class S, int W>
void run(const Launch& launch, const GroupNormBackwardParams<S>& params) {
  using T = typename Arithmetic<S>::type;
  const GroupNormParams<S>& p = params.norm;
  const Device device = device_of(launch.device);
  const Tile tile = make_tile(p.channels, p.groups, W, sizeof(S), 128);
  const int splits = splits_of(p.batch, p.rows, p.channels / p.groups, sizeof(S), tile, device.processors);
  const int each = static_cast<int>((p.rows + splits - 1) / splits);
  const dim3 grid(splits, tile.tiles, static_cast<unsigned>(p.batch));
  auto* parts = reinterpret_cast<Sums<T>*>(params.scratch);
  const std::size_t scratch = sizeof(T) * 2 * tile.lanes * tile.channels;
  check(
      cudaFuncSetAttribute(&sums_kernel<S, W>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(scratch)),
      "group_norm_backward");
  sums_kernel<S, W><<<grid, tile.threads, scratch, stream_of(launch)>>>(p, tile, each, params.stats, params.dy, parts);
  gradient_kernel<S, W><<<grid, tile.threads, sizeof(Sums<T>) * tile.groups, stream_of(launch)>>>(
      p, tile, each, params.stats, params.dy, params.other, parts, params.dx);
  check(cudaGetLastError(), "group_norm_backward");
}

}  // namespace

template <class S>
void group_norm_backward(Launch launch, const GroupNormBackwardParams<S>& params) {
  const GroupNormParams<S>& p = params.norm;
  if (p.batch * p.rows * p.channels == 0) return;
  const DeviceGuard guard(launch.device);
  norm::in_vectors(p) && aligned16({params.dy, params.other, params.dx}) ? run<S, kWidest<S>>(launch, params)
                                                                         : run<S, 1>(launch, params);
}

DFAST_GROUP_NORM_BACKWARD(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
