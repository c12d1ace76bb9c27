// The forward pass of group normalisation.
//
// Where a sample has few rows, and its tile of channels fits into the shared memory of a block, or of a cluster of up
// to eight, one kernel reads x once. Otherwise one kernel reduces splits of rows and a second one applies, which finds
// x in the L2 cache where that is large enough. All kernels are bound by memory traffic.
#include "cuda/group_norm/fused.cuh"

namespace dfast::cuda {

namespace {

using namespace norm;

constexpr int64_t kSplitRows = 4096;  // from here on two kernels are faster, though they read x twice

// Reduces. Grid [splits, tiles, B]; writes the moments of a split's groups to parts [B, groups, splits].
template <class S, int W>
__global__ void __launch_bounds__(kThreads, kBlocks)
    moments_kernel(GroupNormParams<S> p, Tile tile, int each, Moments<typename Arithmetic<S>::type>* parts) {
  using T = typename Arithmetic<S>::type;
  extern __shared__ __align__(16) unsigned char shared[];
  const int64_t b = blockIdx.z, begin = static_cast<int64_t>(blockIdx.x) * each;
  const int rows = static_cast<int>(p.rows - begin < each ? p.rows - begin : each);
  const int64_t c = static_cast<int64_t>(blockIdx.y) * tile.channels + threadIdx.x % tile.vectors * W;
  Moments<T>* out = parts + (b * p.groups + blockIdx.y * tile.groups) * gridDim.x + blockIdx.x;
  const S* x = p.x + (b * p.rows + begin) * p.channels + c;
  tile_moments<S, W>(
      tile, Channels<S, W>(p, b, c), origin_of<S, W>(x, p.channels, rows), rows, reinterpret_cast<T*>(shared),
      [&](int row) { return Channels<S, W>::read(x + row * p.channels); },
      [&](int g, Moments<T> m) { out[g * gridDim.x] = m; });
}

// Applies. Grid [splits, tiles, B], the last splits first, because the cache still holds them.
template <class S, int W>
__global__ void __launch_bounds__(kThreads, kBlocks)
    apply_kernel(GroupNormParams<S> p, Tile tile, int each, const Moments<typename Arithmetic<S>::type>* parts, S* y,
                 typename Arithmetic<S>::type* stats) {
  using T = typename Arithmetic<S>::type;
  extern __shared__ __align__(16) unsigned char shared[];
  auto* of_tile = reinterpret_cast<Stats<T>*>(shared);
  const int splits = gridDim.x;
  const int64_t b = blockIdx.z, begin = static_cast<int64_t>(splits - 1 - blockIdx.x) * each;
  const int rows = static_cast<int>(p.rows - begin < each ? p.rows - begin : each);
  const int64_t c = static_cast<int64_t>(blockIdx.y) * tile.channels + threadIdx.x % tile.vectors * W;
  const int64_t base = (b * p.rows + begin) * p.channels + c, group = static_cast<int64_t>(blockIdx.y) * tile.groups;
  const T of_group = T(tile.channels / tile.groups), numbers = T(p.rows) * of_group;
  for (int g = threadIdx.x / 32; g < tile.groups; g += blockDim.x / 32) {
    const Moments<T> m = merge<kMaxGroupNormSplits / 32, T>(
        splits, [&](int i) { return of_group * T(i + 1 < splits ? each : p.rows - static_cast<int64_t>(i) * each); },
        [&](int i) { return parts[(b * p.groups + group + g) * splits + i]; });
    if (threadIdx.x % 32 == 0) {
      of_tile[g] = stats_of(m, numbers, p.eps);
      if (blockIdx.x == 0) put(p, b, group + g, of_tile[g], stats);
    }
  }
  __syncthreads();
  const S* x = p.x + base;
  apply_rows<S, W>(tile, Channels<S, W>(p, b, c), p.activation, of_tile, p.channels, rows, y + base,
                   [&](int row) { return Channels<S, W>::read(x + row * p.channels); });
}

template <class S, int W>
void run(const Launch& launch, const GroupNormForwardParams<S>& params) {
  using T = typename Arithmetic<S>::type;
  const GroupNormParams<S>& p = params.norm;
  Device device = device_of(launch.device);
  cudaFuncAttributes built{};
  check(cudaFuncGetAttributes(&built, &apply_kernel<S, W>), "group_norm");
  device.clusters = device.clusters && built.ptxVersion >= 90;  // code built for older devices cannot form clusters
  if constexpr (W > 1) {
    if (p.rows < kSplitRows && run_fused<S, W>(launch, params, device)) return;
  }
  const Tile tile = make_tile(p.channels, p.groups, W, sizeof(S), 128);
  const int splits = splits_of(p.batch, p.rows, p.channels / p.groups, sizeof(S), tile, device.processors);
  const int each = static_cast<int>((p.rows + splits - 1) / splits);
  const dim3 grid(splits, tile.tiles, static_cast<unsigned>(p.batch));
  auto* parts = reinterpret_cast<Moments<T>*>(params.scratch);
  const std::size_t scratch = sizeof(T) * moments_scratch(tile);
  check(cudaFuncSetAttribute(&moments_kernel<S, W>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(scratch)),
        "group_norm");
  moments_kernel<S, W><<<grid, tile.threads, scratch, stream_of(launch)>>>(p, tile, each, parts);
  apply_kernel<S, W><<<grid, tile.threads, sizeof(Stats<T>) * tile.groups, stream_of(launch)>>>(p, tile, each, parts,
                                                                                                params.y, params.stats);
  check(cudaGetLastError(), "group_norm");
}

}  // namespace

template <class S>
void group_norm(Launch launch, const GroupNormForwardParams<S>& params) {
  const GroupNormParams<S>& p = params.norm;
  if (p.batch * p.rows * p.channels == 0) return;
  const DeviceGuard guard(launch.device);
  norm::in_vectors(p) && aligned16({params.y}) ? run<S, kWidest<S>>(launch, params) : run<S, 1>(launch, params);
}

DFAST_GROUP_NORM(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
