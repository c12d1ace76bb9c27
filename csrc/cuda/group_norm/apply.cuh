// How group normalisation reads rows and applies the normalisation to them.
#pragma once

#include "cuda/group_norm/tile.h"
#include "cuda/vector.h"

namespace dfast::cuda::norm {

// Calls use(i, value) for rows lane, lane + lanes, ... < rows, in order, with kLoads loads of `load(i)` in flight.
template <int kLoads, class Load, class Use>
__device__ __forceinline__ void for_rows(int rows, int lane, int lanes, const Load& load, const Use& use) {
  for (int row = lane; row < rows; row += kLoads * lanes) {
    decltype(load(0)) values[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      if (row + k * lanes < rows) values[k] = load(row + k * lanes);
    }
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      if (row + k * lanes < rows) use(row + k * lanes, values[k]);
    }
  }
}

// The parameters of the W channels of this thread, from channel c on.
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
      const S* row = p.scale_shift + b * p.scale_pitch + c;
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

// The mean and rstd of a group.
template <class T>
struct Stats {
  T mean, rstd;
};

template <class T>
__device__ __forceinline__ Stats<T> stats_of(Moments<T> m, T count, T eps) {
  return {m.mean, T(1) / sqrt(m.sum / count + eps)};
}

// Writes y for this thread's rows, whose vectors load(row) returns. `stats` belong to the groups of the tile.
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
    for_rows<kDeep>(rows, lane, tile.lanes, load, [&](int row, const Vector<S, W>& v) {
      Vector<S, W> out;
#pragma unroll
      for (int j = 0; j < W; ++j) {
        out.v[j] = narrow<S>(activate(kind(), (widen<T>(v.v[j]) + shift[j]) * factor[j] + channels.offset[j]));
      }
      *reinterpret_cast<Vector<S, W>*>(y + row * pitch) = out;
    });
  });
}

}  // namespace dfast::cuda::norm
