// Groups of kLanes samples, on which the hash-grid loops of the host are built. Cells and corner weights are computed
// lane-parallel (gcc vectorises those loops). Tables are then read sample by sample, which is faster than gather
// instructions.
#pragma once

#include <type_traits>

#include "ops/hashgrid.h"

namespace dfast::cpu {

constexpr int kLanes = 64;

// The cells of up to kLanes samples in one level. Unused lanes hold x = 0; they are computed but never read.
template <typename T>
struct alignas(64) Lanes {
  T x[3][kLanes];
  T w[3][kLanes];
  T d[3][kLanes];
  T dd[3][kLanes];
  T u[3][kLanes];
  std::uint32_t row[8][kLanes];
  T corner[8][kLanes];  // w_c
  T slope[8][kLanes];   // u . grad w_c

  // Transposes `count` rows of a [*, 3] array.
  static void load(const T* rows, int count, T (&out)[3][kLanes]) {
    for (int i = 0; i < kLanes; ++i) {
      for (int k = 0; k < 3; ++k) out[k][i] = i < count ? rows[3 * i + k] : T(0);
    }
  }

  template <bool Dense, bool Smooth>
  void locate_as(const HashLevel& level) {
    const T scale = static_cast<T>(level.scale), top = static_cast<T>(level.resolution - 1);
#pragma GCC ivdep
    for (int i = 0; i < kLanes; ++i) {
      const HashAxis<T> ax = hash_axis<Smooth>(x[0][i], scale, top);
      const HashAxis<T> ay = hash_axis<Smooth>(x[1][i], scale, top);
      const HashAxis<T> az = hash_axis<Smooth>(x[2][i], scale, top);
      w[0][i] = ax.w, w[1][i] = ay.w, w[2][i] = az.w;
      d[0][i] = ax.d, d[1][i] = ay.d, d[2][i] = az.d;
      dd[0][i] = ax.dd, dd[1][i] = ay.dd, dd[2][i] = az.dd;
      std::uint32_t r[8];
      hash_rows<Dense>(ax.low, ay.low, az.low, level, r);
#pragma GCC unroll 8
      for (int c = 0; c < 8; ++c) row[c][i] = r[c];
    }
  }

  void locate(const HashLevel& level, bool smooth) {
    if (level.dense) return smooth ? locate_as<true, true>(level) : locate_as<true, false>(level);
    return smooth ? locate_as<false, true>(level) : locate_as<false, false>(level);
  }

  void weigh(T scale) {
#pragma GCC ivdep
    for (int i = 0; i < kLanes; ++i) {
      const T wi[3] = {w[0][i], w[1][i], w[2][i]};
      T out[8];
      corner_weights(wi, out);
#pragma GCC unroll 8
      for (int c = 0; c < 8; ++c) corner[c][i] = scale * out[c];
    }
  }

  void tilt(T scale) {
#pragma GCC ivdep
    for (int i = 0; i < kLanes; ++i) {
      const T wi[3] = {w[0][i], w[1][i], w[2][i]}, di[3] = {d[0][i], d[1][i], d[2][i]};
      const T ui[3] = {u[0][i], u[1][i], u[2][i]};
      T out[8];
      corner_slopes(wi, di, ui, out);
#pragma GCC unroll 8
      for (int c = 0; c < 8; ++c) slope[c][i] = scale * out[c];
    }
  }
};

template <typename A>
DFAST_HD void pick(const A (&lanes)[8][kLanes], int i, A out[8]) {
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) out[c] = lanes[c][i];
}

template <typename T>
T level_weight(const T* weights, int l) {
  return weights ? weights[l] : T(1);
}

// Returns the number of rows that a level's samples may use.
inline std::uint64_t level_rows(const HashLevel& level) {
  const std::uint64_t side = static_cast<std::uint64_t>(level.resolution);
  return level.dense ? side * side * static_cast<std::uint64_t>(level.depth) : std::uint64_t(level.mask) + 1;
}

// Prefetches the rows of `count` cells of a level that is too large for the nearest caches. They go to the second-level
// cache, which supports more misses in flight than the first. Two corners along x nearly always share a cache line. The
// function must be inlined, because gcc drops calls of a function that only prefetches.
template <bool Write, typename Row>
DFAST_HD void prefetch_rows(const Row* rows, const HashLevel& level, const std::uint32_t (&row)[8][kLanes], int count) {
  constexpr std::uint64_t kNear = 256 * 1024;  // bytes
  if (level_rows(level) * sizeof(Row) <= kNear) return;
  for (int c = 0; c < 8; c += 2) {
    for (int i = 0; i < count; ++i) __builtin_prefetch(rows + row[c][i], Write, 2);
  }
}

// Calls f(rows) with the level's first row in its stored type.
template <int F, typename T, typename Body>
void with_rows(const T* table, const Half* table_half, std::int64_t offset, const Body& f) {
  if constexpr (std::is_same_v<T, float>) {
    if (table_half) return f(reinterpret_cast<const HashRow<Half, F>*>(table_half) + offset);
  }
  f(reinterpret_cast<const HashRow<T, F>*>(table) + offset);
}

}  // namespace dfast::cpu
