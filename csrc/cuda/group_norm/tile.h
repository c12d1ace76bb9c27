// How group normalisation lays blocks over pixels and channels.
//
// A tile is a run of channels that holds whole groups and, where C allows it, whole 16-byte vectors. Thread t of a
// block owns vector t % V of the tile in rows t / V, t / V + lanes, ...: neighbouring threads read neighbouring
// addresses, and the parameters of a channel stay in registers.
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

constexpr int kThreads = 256;  // largest number of threads of a block and of vectors of a tile
constexpr int kBlocks = 2;     // blocks that share a multiprocessor where splits are reduced and applied
constexpr int kDeep = 8;       // vectors that a thread has in flight there

// Returns whether every row of channels can be read in vectors of 16 bytes.
template <class S>
bool in_vectors(const GroupNormParams<S>& p) {
  constexpr int64_t kVector = kWidest<S>;
  return p.channels % kVector == 0 && p.add_pitch % kVector == 0 && p.scale_pitch % kVector == 0 &&
         aligned16({p.x, p.weight, p.bias, p.add, p.scale_shift});
}

// A tile and the threads on it.
struct Tile {
  int channels;  // of a tile
  int vectors;   // V
  int lanes;     // rows side by side
  int threads;   // of a block: lanes * V, up to shape warps
  int tiles;     // of all channels
  int groups;    // of a tile
};

// Returns the narrowest tile of at least `bytes` per row.
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

// The properties of a device on which launch shapes depend.
struct Device {
  int processors;  // multiprocessors
  int shared;      // bytes of shared memory that a block may have
  bool clusters;   // whether blocks can form clusters
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

// Returns the number of splits of a sample's rows where one kernel reduces and a second applies: enough to fill the
// device, but so few that reading all their sums again is at most a quarter of a block's own traffic.
inline int splits_of(int64_t batch, int64_t rows, int64_t of_group, int size, const Tile& tile, int processors) {
  const double max_splits = std::sqrt(static_cast<double>(rows) * of_group * size / 32);
  const int64_t fill = kBlocks * processors / (tile.tiles * batch);
  const int64_t deep = (rows + 4 * tile.lanes - 1) / (4 * tile.lanes);
  int64_t splits =
      static_cast<int64_t>(max_splits) < kMaxGroupNormSplits ? static_cast<int64_t>(max_splits) : kMaxGroupNormSplits;
  if (fill < splits) splits = fill;
  if (deep < splits) splits = deep;
  if (splits < 1) splits = 1;
  const int64_t each = (rows + splits - 1) / splits;
  return static_cast<int>((rows + each - 1) / each);  // no split is empty
}

}  // namespace dfast::cuda::norm
