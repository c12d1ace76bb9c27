// What both passes of group normalisation share: how a block is laid over pixels and channels, and reductions that give
// the same bits every run.
//
// A tile is a run of channels that holds shape groups and, where C allows it, shape 16-byte vectors. Thread t of a
// block owns vector t % V of the tile in rows t / V, t / V + lanes, ...: neighbours read neighbouring addresses, and
// what belongs to a channel stays in registers. Sums go from rows to threads, from a block's threads to its groups by
// one warp a group, and from blocks to samples in the order of their numbers.
#pragma once

#include <cmath>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <string>

#include "cuda/launch.h"
#include "cuda/vector.h"
#include "ops/group_norm.h"

namespace dfast::cuda::norm {

constexpr int kThreads = 256;  // of a block, at most, and vectors of a tile
constexpr int kBlocks = 3;     // that share a multiprocessor where splits are reduced and applied
constexpr unsigned kAll = 0xffffffffu;

// A tile and the threads on it.
struct Tile {
  int channels;  // of a tile
  int vectors;   // V
  int lanes;     // rows side by side
  int threads;   // of a block: lanes * V, up to shape warps
  int tiles;     // of all channels
  int groups;    // of a tile
};

// The narrowest tile of at least `bytes`.
inline Tile make_tile(int64_t channels, int64_t groups, int width, int size, int bytes) {
  const int of_group = static_cast<int>(channels / groups);
  const int least = std::lcm(of_group, width), many = static_cast<int>(channels / least);
  int times = 1;
  while (times < many && (many % times != 0 || least * times * size < bytes)) ++times;
  Tile tile{};
  tile.channels = least * times;
  if (tile.channels / width > kThreads) tile.channels = least;
  tile.vectors = tile.channels / width;
  if (tile.vectors > kThreads) {
    throw std::invalid_argument("group_norm on CUDA takes at most 256 channels a group, got " +
                                std::to_string(of_group));
  }
  tile.lanes = kThreads / tile.vectors;
  tile.threads = (tile.lanes * tile.vectors + 31) / 32 * 32;
  tile.tiles = static_cast<int>(channels / tile.channels);
  tile.groups = tile.channels / of_group;
  return tile;
}

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kAll, value, step);
  return value;
}

// Calls use(i, value) for rows lane, lane + lanes, ... < rows, in order, with kDeep loads of `load(i)` under way.
template <int kDeep, class Load, class Use>
__device__ __forceinline__ void for_rows(int rows, int lane, int lanes, const Load& load, const Use& use) {
  for (int row = lane; row < rows; row += kDeep * lanes) {
    decltype(load(0)) values[kDeep];
#pragma unroll
    for (int k = 0; k < kDeep; ++k) {
      if (row + k * lanes < rows) values[k] = load(row + k * lanes);
    }
#pragma unroll
    for (int k = 0; k < kDeep; ++k) {
      if (row + k * lanes < rows) use(row + k * lanes, values[k]);
    }
  }
}

// Moments of `parts` parts, at most 32 kEach, together; part i has count(i) numbers. A warp's work.
template <int kEach, class T, class Count, class Get>
__device__ __forceinline__ Moments<T> merge(int parts, const Count& count, const Get& get) {
  const int lane = threadIdx.x % 32;
  Moments<T> held[kEach];
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    if (lane + 32 * k < parts) held[k] = get(lane + 32 * k);
  }
  const T first = __shfl_sync(kAll, held[0].mean, 0);
  T numbers = 0, off = 0;
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    if (lane + 32 * k < parts) {
      const T n = count(lane + 32 * k);
      numbers += n;
      off += n * (held[k].mean - first);
    }
  }
  const T mean = first + warp_sum(off) / warp_sum(numbers);
  T sum = 0;
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    if (lane + 32 * k < parts) {
      const T d = held[k].mean - mean;
      sum += held[k].sum + count(lane + 32 * k) * d * d;
    }
  }
  return {mean, warp_sum(sum)};
}

// Adds up the rows of table [lanes, columns] into the first; the shape block's work.
template <class T>
__device__ __forceinline__ void add_lanes(T* table, int lanes, int columns) {
  const int wide = static_cast<int>(blockDim.x) / columns, parts = wide < 1 ? 1 : wide < lanes ? wide : lanes;
  __syncthreads();
  for (int i = threadIdx.x; i < parts * columns; i += blockDim.x) {  // row i / columns takes every parts-th row in
    T sum = table[i];
#pragma unroll 8
    for (int at = i + parts * columns; at < lanes * columns; at += parts * columns) sum += table[at];
    table[i] = sum;
  }
  __syncthreads();
  if (parts == 1) return;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) {
    T sum = table[i];
#pragma unroll 8
    for (int part = 1; part < parts; ++part) sum += table[part * columns + i];
    table[i] = sum;
  }
  __syncthreads();
}

// What this thread's channels do, from vector c / W of the rows of weights.
template <class S, int W>
struct Channels {
  using T = typename Arithmetic<S>::type;
  T add[W], gain[W], offset[W];

  __device__ __forceinline__ Channels(const GroupNormParams<S>& p, int64_t b, int64_t c) {
    const Vector<S, W> weight = read(p.weight + c), bias = read(p.bias + c);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      add[j] = T(0);
      gain[j] = widen<T>(weight.v[j]);
      offset[j] = widen<T>(bias.v[j]);
    }
    if (p.add != nullptr) {
      const Vector<S, W> more = read(p.add + b * p.add_pitch + c);
#pragma unroll
      for (int j = 0; j < W; ++j) add[j] = widen<T>(more.v[j]);
    }
    if (p.scale_shift != nullptr) {
      const S* row = p.scale_shift + 2 * b * p.channels + c;
      const Vector<S, W> scale = read(row), shift = read(row + p.channels);
#pragma unroll
      for (int j = 0; j < W; ++j) {
        const T factor = T(1) + widen<T>(scale.v[j]);
        gain[j] *= factor;
        offset[j] = offset[j] * factor + widen<T>(shift.v[j]);
      }
    }
  }

  static __device__ __forceinline__ Vector<S, W> read(const S* from) {
    return *reinterpret_cast<const Vector<S, W>*>(from);
  }
};

// A block's scratch for the moments of its rows: numbers of T.
inline std::size_t moments_scratch(const Tile& tile) {
  return static_cast<std::size_t>(2 * tile.lanes + 1) * tile.channels;
}

// The middle one of each channel's numbers in the first, the middle and the last row at x: near the mean even if one of
// them is not.
template <class S, int W>
__device__ __forceinline__ auto origin_of(const S* x, int64_t pitch, int rows) {
  using T = typename Arithmetic<S>::type;
  const Vector<S, W> first = Channels<S, W>::read(x), middle = Channels<S, W>::read(x + rows / 2 * pitch),
                     last = Channels<S, W>::read(x + (rows - 1) * pitch);
  Vector<T, W> origin;
#pragma unroll
  for (int j = 0; j < W; ++j) {
    const T a = widen<T>(first.v[j]), b = widen<T>(middle.v[j]), c = widen<T>(last.v[j]);
    const T low = a < b ? a : b, high = a < b ? b : a;
    origin.v[j] = c < low ? low : c < high ? c : high;
  }
  return origin;
}

// Moments of the tile's groups over `rows` rows, of which load(row) gives this thread's vector; found(group, moments)
// is called by one lane. Differences are taken from `origin`, on which all lanes agree.
template <class S, int W, class T, class Load, class Found>
__device__ __forceinline__ void tile_moments(const Tile& tile, const Channels<S, W>& channels,
                                             const Vector<T, W>& origin, int rows, T* scratch, const Load& load,
                                             const Found& found) {
  const int lane = threadIdx.x / tile.vectors, at = threadIdx.x % tile.vectors * W;
  T *sums = scratch, *origins = scratch + 2 * tile.lanes * tile.channels;
  if (lane < tile.lanes) {
    T sum[W] = {}, squares[W] = {};
    for_rows<4>(rows, lane, tile.lanes, load, [&](int, const Vector<S, W>& v) {
#pragma unroll
      for (int j = 0; j < W; ++j) {
        const T d = widen<T>(v.v[j]) - origin.v[j];
        sum[j] += d;
        squares[j] += d * d;
      }
    });
#pragma unroll
    for (int j = 0; j < W; ++j) {
      sums[2 * lane * tile.channels + at + j] = sum[j];
      sums[(2 * lane + 1) * tile.channels + at + j] = squares[j];
      if (lane == 0) origins[at + j] = origin.v[j] + channels.add[j];
    }
  }
  add_lanes(sums, tile.lanes, 2 * tile.channels);
  const int of_group = tile.channels / tile.groups;
  for (int g = threadIdx.x / 32; g < tile.groups; g += blockDim.x / 32) {
    const Moments<T> m = merge<kThreads / 32, T>(
        of_group, [&](int) { return T(rows); },
        [&](int i) {
          const int c = g * of_group + i;
          return shifted_moments(origins[c], sums[c], sums[tile.channels + c], T(rows));
        });
    if (threadIdx.x % 32 == 0) found(g, m);
  }
}

// A group's mean and rstd.
template <class T>
struct Stats {
  T mean, rstd;
};

template <class T>
__device__ __forceinline__ Stats<T> stats_of(Moments<T> m, T count, T eps) {
  return {m.mean, T(1) / sqrt(m.sum / count + eps)};
}

// y of this thread's rows; load(row) gives the vector. `stats` are those of the tile's groups.
template <class S, int W, class T, class Load>
__device__ __forceinline__ void apply_rows(const Tile& tile, const Channels<S, W>& channels, Nonlinearity activation,
                                           const Stats<T>* stats, int64_t pitch, int rows, S* y, const Load& load) {
  const int lane = threadIdx.x / tile.vectors, at = threadIdx.x % tile.vectors * W;
  if (lane >= tile.lanes) return;
  const int of_group = tile.channels / tile.groups;
  T shift[W], factor[W];
#pragma unroll
  for (int j = 0; j < W; ++j) {
    const Stats<T> s = stats[(at + j) / of_group];
    shift[j] = channels.add[j] - s.mean;
    factor[j] = s.rstd * channels.gain[j];
  }
  with_activation(activation, [&](auto kind) {
    for_rows<4>(rows, lane, tile.lanes, load, [&](int row, const Vector<S, W>& v) {
      Vector<S, W> out;
#pragma unroll
      for (int j = 0; j < W; ++j) {
        out.v[j] = narrow<S>(activate(kind(), (widen<T>(v.v[j]) + shift[j]) * factor[j] + channels.offset[j]));
      }
      *reinterpret_cast<Vector<S, W>*>(y + row * pitch) = out;
    });
  });
}

// What the launchers ask about a device.
struct Device {
  int processors, shared;  // multiprocessors; bytes of shared memory a block may have
  bool clusters;
};

inline Device device_of(int index) {
  Device d{};
  int major = 0;
  check(cudaDeviceGetAttribute(&d.processors, cudaDevAttrMultiProcessorCount, index), "device");
  check(cudaDeviceGetAttribute(&d.shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, index), "device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index), "device");
  d.clusters = major >= 9;
  return d;
}

// Pieces that a sample's rows are cut into where one kernel reduces and a second applies: enough to fill the device,
// but so few that reading all their sums again is at most a quarter of a block's own traffic.
inline int splits_of(int64_t batch, int64_t rows, int64_t of_group, int size, const Tile& tile, int processors) {
  const double most = std::sqrt(static_cast<double>(rows) * of_group * size / 32);
  const int64_t fill = kBlocks * processors / (tile.tiles * batch);
  const int64_t deep = (rows + 4 * tile.lanes - 1) / (4 * tile.lanes);
  int64_t splits = static_cast<int64_t>(most) < kMaxGroupNormSplits ? static_cast<int64_t>(most) : kMaxGroupNormSplits;
  if (fill < splits) splits = fill;
  if (deep < splits) splits = deep;
  if (splits < 1) splits = 1;
  const int64_t each = (rows + splits - 1) / splits;
  return static_cast<int>((rows + each - 1) / each);  // none is empty
}

}  // namespace dfast::cuda::norm
