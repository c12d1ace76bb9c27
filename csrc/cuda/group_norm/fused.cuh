// Group normalisation in one kernel, where a sample's tile of channels fits into the shared memory of a block, or of a
// cluster of up to eight.
//
// Most of its time is latency: that of reading, of two sums over the block, and of the cluster where there is one.
// Hence tiles are narrow, and a block is alone where its rows are few.
#pragma once

#include "cuda/group_norm/moments.cuh"

#include <cooperative_groups.h>
#include <cuda_pipeline.h>

namespace dfast::cuda::norm {

// Writes the statistics of group `group` of sample b.
template <class S, class T>
__device__ __forceinline__ void put(const GroupNormParams<S>& p, int64_t b, int64_t group, Stats<T> s, T* stats) {
  T* out = stats + 2 * (b * p.groups + group);
  out[0] = s.mean;
  out[1] = s.rstd;
}

constexpr int kFusedThreads = 512;  // largest number of threads of a block
constexpr int kFusedGroups = 16;    // largest number of groups of a tile

// The groups of the channels of one vector, counted from the tile's first.
//
// kWide: a group has at least W channels, so that a vector's channels belong to two groups at most.
template <int W, bool kWide>
struct GroupsOf {
  int at, of_group, first, left;  // left: channels before the second group

  __device__ __forceinline__ GroupsOf(int at, int of_group)
      : at(at), of_group(of_group), first(at / of_group), left(of_group - at % of_group) {}

  __device__ __forceinline__ int operator[](int j) const {
    if constexpr (kWide) return first + (j >= left);
    return (at + j) * (0x10000 / of_group + 1) >> 16;  // (at + j) / of_group, as of_group < 8 and at < 2^12
  }
};

// Adds up what the threads of a block have for the channels of each group, in a fixed order.
template <class T, int W, bool kWide>
struct GroupSums {
  static constexpr int kSlots = kWide ? 2 : W;  // numbers that a thread leaves: one for each group, or each channel
  T (&partial)[kSlots * kFusedThreads];
  int of_group, groups, vectors, lanes;

  // Writes the sums over all channels and lanes to sums[group]. All threads call it together; those beyond the last
  // lane have no values.
  __device__ __forceinline__ void operator()(const GroupsOf<W, kWide>& group, const T (&value)[W], bool active,
                                             T (&sums)[kFusedGroups]) const {
    if (groups == 1) return add_all(value, sums);
    if (active) {
      if constexpr (kWide) {
        T first = 0, second = 0;
#pragma unroll
        for (int j = 0; j < W; ++j) {
          first += j < group.left ? value[j] : T(0);
          second += j < group.left ? T(0) : value[j];
        }
        partial[threadIdx.x] = first, partial[kFusedThreads + threadIdx.x] = second;
      } else {
#pragma unroll
        for (int j = 0; j < W; ++j) partial[j * kFusedThreads + threadIdx.x] = value[j];
      }
    }
    __syncthreads();
#pragma unroll 1
    for (int g = threadIdx.x / 32; g < groups; g += blockDim.x / 32) {
      const int begin = g * of_group, end = begin + of_group, step = kWide ? W : 1;
      T sum = 0;
#pragma unroll 1
      for (int c = begin / step * step; c < end; c += step) {
        const int slot = kWide ? c < begin : c % W;
        const T* from = partial + slot * kFusedThreads + c / W;
#pragma unroll 2
        for (int lane = threadIdx.x % 32; lane < lanes; lane += 32) sum += from[lane * vectors];
      }
      sum = warp_sum(sum);
      if (threadIdx.x % 32 == 0) sums[g] = sum;
    }
    __syncthreads();
  }

  // The same where all channels are of one group. Threads beyond the last lane have zeros.
  __device__ __forceinline__ void add_all(const T (&value)[W], T (&sums)[kFusedGroups]) const {
    T sum = 0;
#pragma unroll
    for (int j = 0; j < W; ++j) sum += value[j];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
      sum = warp_sum(threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : T(0));
      if (threadIdx.x == 0) sums[0] = sum;
    }
    __syncthreads();
  }
};

// Normalises in one kernel. Grid [ranks, tiles, B]; the blocks of one tile of one sample form a cluster, and each keeps
// `each` rows in shared memory. So x is read once, the mean comes first, and then the squares of the distances from it.
//
// Loops are not unrolled: code that runs once costs the time to fetch it.
template <class S, int W, bool kWide>
__global__ void __launch_bounds__(kFusedThreads, 2)
    group_norm_fused_kernel(GroupNormParams<S> p, Tile tile, int each, S* y, typename Arithmetic<S>::type* stats) {
  using T = typename Arithmetic<S>::type;
  using V = Vector<S, W>;
  using Sums = GroupSums<T, W, kWide>;
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ T partial[Sums::kSlots * kFusedThreads], sums[kFusedGroups], squares[kFusedGroups];
  __shared__ Moments<T> own[kFusedGroups];
  __shared__ Stats<T> of_tile[kFusedGroups];
  const int64_t b = blockIdx.z, begin = static_cast<int64_t>(blockIdx.x) * each, left = p.rows - begin;
  const int lane = threadIdx.x / tile.vectors, vector = threadIdx.x - lane * tile.vectors;
  const bool active = lane < tile.lanes;
  const int rows = !active || left < 0 ? 0 : static_cast<int>(left < each ? left : each);
  const int of_group = tile.channels / tile.groups, at = vector * W, first_channel = blockIdx.y * tile.channels;
  const GroupsOf<W, kWide> group(at, of_group);
  const Sums add_up = {partial, of_group, tile.groups, tile.vectors, tile.lanes};

  // ---- Read the rows. All loads are in flight at once, and a thread reads only rows that it copied.
  const S* sample = p.x + b * p.rows * p.channels + first_channel;
  const int64_t offset = begin * p.channels + at;
  V* slab = reinterpret_cast<V*>(shared) + vector;
#pragma unroll 1
  for (int row = lane; row < rows; row += tile.lanes) {
    __pipeline_memcpy_async(slab + row * tile.vectors, sample + offset + row * p.channels, sizeof(V));
  }
  __pipeline_commit();
  const Channels<S, W> channels(p, b, first_channel + at);
  // Differences are taken from the first number of the group, with what is added to it, which is near the mean.
  T shift[W];
#pragma unroll
  for (int j = 0; j < W; ++j) {
    const int c = group[j] * of_group;
    shift[j] = channels.add[j] - (widen<T>(sample[c]) + channel_add(p, b, first_channel + c));
  }
  __pipeline_wait_prior(0);
  const auto each_row = [&](const auto& use) {
#pragma unroll 1
    for (int row = lane; row < rows; row += tile.lanes) use(row, slab[row * tile.vectors]);
  };

  // ---- Compute the mean of this block's rows, and the squares of the distances from it.
  T value[W] = {};
  each_row([&](int, const V& v) {
#pragma unroll
    for (int j = 0; j < W; ++j) value[j] += widen<T>(v.v[j]) + shift[j];
  });
  add_up(group, value, active, sums);
  const int64_t in_block = left < 0 ? 0 : left < each ? left : each;
  const T inverse = in_block > 0 ? T(1) / (T(in_block) * T(of_group)) : T(0);
#pragma unroll
  for (int j = 0; j < W; ++j) shift[j] -= sums[group[j]] * inverse, value[j] = T(0);
  each_row([&](int, const V& v) {
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const T d = widen<T>(v.v[j]) + shift[j];
      value[j] += d * d;
    }
  });
  add_up(group, value, active, squares);

  // ---- Merge the moments of the cluster's blocks, or take those of the only block. Means are those of differences.
  const T numbers = T(p.rows) * T(of_group);
#if __CUDA_ARCH__ >= 900
  if (gridDim.x > 1) {
    const auto cluster = cooperative_groups::this_cluster();
    if (threadIdx.x < tile.groups) own[threadIdx.x] = {sums[threadIdx.x] * inverse, squares[threadIdx.x]};
    cluster.sync();
    const int used = static_cast<int>((p.rows + each - 1) / each);
#pragma unroll 1
    for (int g = threadIdx.x / 32; g < tile.groups; g += blockDim.x / 32) {
      const Moments<T> m = merge<1, T>(
          used, [&](int i) { return T(of_group) * T(i + 1 < used ? each : p.rows - static_cast<int64_t>(i) * each); },
          [&](int i) { return cluster.map_shared_rank(own, i)[g]; });
      if (threadIdx.x % 32 == 0) of_tile[g] = stats_of(m, numbers, p.eps);
    }
    cluster.sync();  // no block exits while others read its memory
  } else
#endif
  {
    if (threadIdx.x < tile.groups) {
      of_tile[threadIdx.x] = stats_of(Moments<T>{sums[threadIdx.x] * inverse, squares[threadIdx.x]}, numbers, p.eps);
    }
    __syncthreads();
  }

  // ---- Apply.
  if (blockIdx.x == 0 && threadIdx.x < tile.groups) {
    const int c = threadIdx.x * of_group;
    const Stats<T> s = of_tile[threadIdx.x];
    const T origin = widen<T>(sample[c]) + channel_add(p, b, first_channel + c);
    put(p, b, blockIdx.y * tile.groups + threadIdx.x, Stats<T>{origin + s.mean, s.rstd}, stats);
  }
  T factor[W];
#pragma unroll
  for (int j = 0; j < W; ++j) {
    const Stats<T> s = of_tile[group[j]];
    shift[j] += sums[group[j]] * inverse - s.mean;
    factor[j] = s.rstd * channels.gain[j];
  }
  S* out = y + (sample - p.x) + offset;
  with_activation(p.activation, [&](auto kind) {
    each_row([&](int row, const V& v) {
      V result;
#pragma unroll
      for (int j = 0; j < W; ++j) {
        result.v[j] = narrow<S>(activate(kind(), (widen<T>(v.v[j]) + shift[j]) * factor[j] + channels.offset[j]));
      }
      *reinterpret_cast<V*>(out + row * p.channels) = result;
    });
  });
}

// The launch shape of group_norm_fused_kernel.
struct FusedShape {
  int ranks;          // blocks of a cluster; 0 if the tile does not fit
  int each;           // rows of a block
  int lanes;          // rows side by side
  std::size_t bytes;  // shared memory of a block
};

template <class V>
FusedShape fused_shape_of(int64_t batch, int64_t rows, const Tile& tile, const Device& device) {
  constexpr std::size_t kHalf = 96 << 10;  // such that two blocks share a multiprocessor
  const std::size_t most = static_cast<std::size_t>(device.shared) - (24 << 10);  // 17 KB are static
  for (int ranks = 1;; ranks *= 2) {
    const bool last = ranks == 8 || !device.clusters;
    const int64_t each = (rows + ranks - 1) / ranks, side_by_side = kFusedThreads / tile.vectors;
    const int64_t lanes = each < side_by_side ? each : side_by_side;
    const std::size_t bytes = each * tile.vectors * sizeof(V);
    const bool full = batch * tile.tiles * ranks * 2 > device.processors || each <= 4 * lanes;
    if (bytes <= (last || most < kHalf ? most : kHalf) && (full || last)) {
      return {ranks, static_cast<int>(each), static_cast<int>(lanes), bytes};
    }
    if (last) return {0, 0, 0, 0};
  }
}

template <class S, int W, bool kWide>
void launch_fused(const Launch& launch, const GroupNormForwardParams<S>& params, const Tile& tile,
                  const FusedShape& shape) {
  auto* kernel = &group_norm_fused_kernel<S, W, kWide>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shape.bytes)),
        "group_norm");
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(shape.ranks, tile.tiles, static_cast<unsigned>(params.norm.batch));
  config.blockDim = dim3(tile.threads);
  config.dynamicSmemBytes = shape.bytes;
  config.stream = stream_of(launch);
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = shape.ranks;
  cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  config.attrs = &cluster;
  config.numAttrs = shape.ranks > 1 ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, params.norm, tile, shape.each, params.y, params.stats), "group_norm");
}

template <class S, int W>
bool run_fused(const Launch& launch, const GroupNormForwardParams<S>& params, const Device& device) {
  const GroupNormParams<S>& p = params.norm;
  Tile tile = make_tile(p.channels, p.groups, W, sizeof(S), 32);
  const FusedShape shape = fused_shape_of<Vector<S, W>>(p.batch, p.rows, tile, device);
  if (shape.ranks == 0 || tile.groups > kFusedGroups) return false;
  tile.lanes = shape.lanes, tile.threads = (tile.lanes * tile.vectors + 31) / 32 * 32;
  p.channels / p.groups >= W ? launch_fused<S, W, true>(launch, params, tile, shape)
                             : launch_fused<S, W, false>(launch, params, tile, shape);
  return true;
}

}  // namespace dfast::cuda::norm
