// The forward pass of group normalisation.
//
// Where a sample's tile of channels fits into the shared memory of a block, or of a cluster of up to eight, one kernel
// reads x once. Otherwise one kernel reduces splits of rows and a second one applies, which finds x in the L2 cache
// where that is large enough. All kernels are bound by memory traffic.
#include "cuda/group_norm/moments.cuh"

#include <cooperative_groups.h>
#include <cuda_pipeline.h>

namespace dfast::cuda {

namespace {

using namespace norm;

// Writes the statistics of group `group` of sample b.
template <class S, class T>
__device__ __forceinline__ void put(const GroupNormParams<S>& p, int64_t b, int64_t group, Stats<T> s, T* stats) {
  T* out = stats + 2 * (b * p.groups + group);
  out[0] = s.mean;
  out[1] = s.rstd;
}

// Returns the size of the rows in shared memory, rounded up such that the next array is aligned to 16 bytes.
__host__ __device__ constexpr std::size_t slab_bytes(std::size_t bytes) { return (bytes + 15) / 16 * 16; }

// Normalises in one kernel. Grid [ranks, tiles, B]; the blocks of one tile of one sample form a cluster, and each holds
// `each` rows. Shared memory holds the block's rows, the scratch for moments, the moments of the block's groups and the
// statistics of the tile's groups.
template <class S, int W>
__global__ void __launch_bounds__(kThreads, 2)
    group_norm_fused_kernel(GroupNormParams<S> p, Tile tile, int each, S* y, typename Arithmetic<S>::type* stats) {
  using T = typename Arithmetic<S>::type;
  using V = Vector<S, W>;
  extern __shared__ __align__(16) unsigned char shared[];
  V* slab = reinterpret_cast<V*>(shared);
  T* scratch = reinterpret_cast<T*>(shared + slab_bytes(static_cast<std::size_t>(each) * tile.vectors * sizeof(V)));
  auto* of_tile = reinterpret_cast<Stats<T>*>(scratch);  // reuses the scratch
  auto* own = reinterpret_cast<Moments<T>*>(scratch + (2 * tile.lanes + 2) * tile.channels);

  const int64_t b = blockIdx.z, begin = static_cast<int64_t>(blockIdx.x) * each;
  const int vector = threadIdx.x % tile.vectors;
  const int64_t left = p.rows - begin;
  const int rows = static_cast<int>(left < 0 ? 0 : left < each ? left : each);
  const int64_t c = static_cast<int64_t>(blockIdx.y) * tile.channels + vector * W;
  const int64_t base = (b * p.rows + begin) * p.channels + c;
  const T of_group = T(tile.channels / tile.groups), numbers = T(p.rows) * of_group;
  const Channels<S, W> channels(p, b, c);

  // ---- Copy the rows to shared memory and compute the moments of this block.
  if (rows > 0) {
    const S* x = p.x + base;
    const int lane = threadIdx.x / tile.vectors;
    for (int row = lane; row < rows && lane < tile.lanes; row += tile.lanes) {  // all loads are in flight at once
      V* to = slab + row * tile.vectors + vector;
      if constexpr (sizeof(V) == 16) {
        __pipeline_memcpy_async(to, x + row * p.channels, sizeof(V));
      } else {
        *to = Channels<S, W>::read(x + row * p.channels);
      }
    }
    __pipeline_commit();
    const auto origin = origin_of<S, W>(x, p.channels, rows);
    __pipeline_wait_prior(0);  // a thread reads only rows that it copied
    tile_moments<S, W>(
        tile, channels, origin, rows, scratch, [&](int row) { return slab[row * tile.vectors + vector]; },
        [&](int g, Moments<T> m) { own[g] = m; });
  }

  // ---- Merge the moments of the cluster's blocks, or take those of the only block.
#if __CUDA_ARCH__ >= 900
  if (gridDim.x > 1) {
    const auto cluster = cooperative_groups::this_cluster();
    cluster.sync();
    const int used = static_cast<int>((p.rows + each - 1) / each);
    for (int g = threadIdx.x / 32; g < tile.groups; g += blockDim.x / 32) {
      const Moments<T> m = merge<1, T>(
          used, [&](int i) { return of_group * T(i + 1 < used ? each : p.rows - static_cast<int64_t>(i) * each); },
          [&](int i) { return cluster.map_shared_rank(own, i)[g]; });
      if (threadIdx.x % 32 == 0) {
        of_tile[g] = stats_of(m, numbers, p.eps);
        if (blockIdx.x == 0) put(p, b, blockIdx.y * tile.groups + g, of_tile[g], stats);
      }
    }
    cluster.sync();  // no block exits while others read its memory
  } else
#endif
  {
    __syncthreads();
    for (int g = threadIdx.x; g < tile.groups; g += blockDim.x) {
      of_tile[g] = stats_of(own[g], numbers, p.eps);
      put(p, b, blockIdx.y * tile.groups + g, of_tile[g], stats);
    }
    __syncthreads();
  }

  // ---- Apply to the rows in shared memory.
  apply_rows<S, W>(tile, channels, p.activation, of_tile, p.channels, rows, y + base,
                   [&](int row) { return slab[row * tile.vectors + vector]; });
}

// Reduces. Grid [splits, tiles, B]; writes the moments of a split's groups to parts [B, splits, groups].
template <class S, int W>
__global__ void __launch_bounds__(kThreads, kBlocks)
    moments_kernel(GroupNormParams<S> p, Tile tile, int each, Moments<typename Arithmetic<S>::type>* parts) {
  using T = typename Arithmetic<S>::type;
  extern __shared__ __align__(16) unsigned char shared[];
  const int64_t b = blockIdx.z, begin = static_cast<int64_t>(blockIdx.x) * each;
  const int rows = static_cast<int>(p.rows - begin < each ? p.rows - begin : each);
  const int64_t c = static_cast<int64_t>(blockIdx.y) * tile.channels + threadIdx.x % tile.vectors * W;
  Moments<T>* out = parts + (b * gridDim.x + blockIdx.x) * p.groups + blockIdx.y * tile.groups;
  const S* x = p.x + (b * p.rows + begin) * p.channels + c;
  tile_moments<S, W>(
      tile, Channels<S, W>(p, b, c), origin_of<S, W>(x, p.channels, rows), rows, reinterpret_cast<T*>(shared),
      [&](int row) { return Channels<S, W>::read(x + row * p.channels); }, [&](int g, Moments<T> m) { out[g] = m; });
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
        [&](int i) { return parts[(b * splits + i) * p.groups + group + g]; });
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

// The launch shape of group_norm_fused_kernel.
struct FusedShape {
  int ranks;          // blocks of a cluster; 0 if the tile does not fit
  int each;           // rows of a block
  std::size_t bytes;  // shared memory of a block
};

template <class S, int W>
FusedShape fused_shape_of(const GroupNormParams<S>& p, const Tile& tile, const Device& device) {
  using T = typename Arithmetic<S>::type;
  constexpr std::size_t kHalf = 112 << 10;  // such that two blocks share a multiprocessor
  const std::size_t fixed = sizeof(T) * (moments_scratch(tile) + tile.channels) + sizeof(Moments<T>) * tile.groups;
  const std::size_t max_bytes = static_cast<std::size_t>(device.shared) - 1024;
  for (int ranks = 1; ranks <= (device.clusters ? 8 : 1); ranks *= 2) {
    const int64_t each = (p.rows + ranks - 1) / ranks;
    const std::size_t bytes = fixed + slab_bytes(each * tile.vectors * sizeof(Vector<S, W>));
    const bool full = p.batch * tile.tiles * ranks * 2 > device.processors || each <= 8 * tile.lanes;
    const bool last = ranks == 8 || !device.clusters;
    if (bytes <= (last ? max_bytes : kHalf) && (full || last)) return {ranks, static_cast<int>(each), bytes};
  }
  return {0, 0, 0};
}

template <class S, int W>
bool run_fused(const Launch& launch, const GroupNormForwardParams<S>& params, const Device& device) {
  const GroupNormParams<S>& p = params.norm;
  const Tile tile = make_tile(p.channels, p.groups, W, sizeof(S), 64);
  const FusedShape shape = fused_shape_of<S, W>(p, tile, device);
  if (shape.ranks == 0) return false;
  auto* kernel = &group_norm_fused_kernel<S, W>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shape.bytes)),
        "group_norm");
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(shape.ranks, tile.tiles, static_cast<unsigned>(p.batch));
  config.blockDim = dim3(tile.threads);
  config.dynamicSmemBytes = shape.bytes;
  config.stream = stream_of(launch);
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = shape.ranks;
  cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  config.attrs = &cluster;
  config.numAttrs = shape.ranks > 1 ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, p, tile, shape.each, params.y, params.stats), "group_norm");
  return true;
}

template <class S, int W>
void run(const Launch& launch, const GroupNormForwardParams<S>& params) {
  using T = typename Arithmetic<S>::type;
  const GroupNormParams<S>& p = params.norm;
  Device device = device_of(launch.device);
  cudaFuncAttributes built{};
  check(cudaFuncGetAttributes(&built, &group_norm_fused_kernel<S, W>), "group_norm");
  device.clusters = device.clusters && built.ptxVersion >= 90;  // code built for older devices cannot form clusters
  if (run_fused<S, W>(launch, params, device)) return;
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
