// The hash grid on the host. Letters are those of ops/hashgrid.h.
//
// Samples are processed in chunks. Within a chunk, the outer loop runs over levels, so that one level's rows stay in
// cache, and the inner one over groups of kLanes samples. Cells and weights are computed lane-parallel (gcc vectorises
// those loops); the table is then read sample by sample, which is faster than gather instructions. No result depends on
// the number of threads: every output row belongs to one chunk, and in the scatter each task owns whole levels (or row
// ranges of one) and adds in sample order.
#include "ops/hashgrid.h"

#include "cpu/hash_lanes.h"
#include "cpu/parallel.h"

namespace dfast::cpu {
namespace {

constexpr std::int64_t kChunk = 2048;  // samples; a multiple of kLanes

// Calls body(level, level weight, first sample, count, lanes) for every level and group of lanes. A level of weight 0
// contributes exactly zero, so masked(level, first sample, count) handles it without reading the table.
template <typename T, typename Body, typename Masked>
void for_lanes(const HashGrid& grid, std::int64_t begin, std::int64_t end, int first_level, int last_level, const T* x,
               const T* u, const T* weights, const Body& body, const Masked& masked) {
  Lanes<T> lanes;
  for (int l = first_level; l < last_level; ++l) {
    const T lw = level_weight(weights, l);
    for (std::int64_t i = begin; i < end; i += kLanes) {
      const int count = static_cast<int>(std::min<std::int64_t>(kLanes, end - i));
      if (lw == T(0)) {
        masked(l, i, count);
        continue;
      }
      Lanes<T>::load(x + 3 * i, count, lanes.x);
      if (u) Lanes<T>::load(u + 3 * i, count, lanes.u);
      lanes.locate(grid.level[l], grid.smooth);
      body(l, lw, i, count, lanes);
    }
  }
}

// Computes e, or J u when u is given; the two differ in the corner weights only.
template <typename T>
void gather(Launch launch, const HashGridParams<T>& p, const T* u, T* out) {
  const HashGrid& grid = p.grid;
  with_features(grid.features, [&](auto features) {
    constexpr int F = features;
    const std::int64_t width = static_cast<std::int64_t>(grid.levels) * F;
    const auto body = [&](int l, T lw, std::int64_t first, int count, Lanes<T>& lanes) {
      u ? lanes.tilt(lw) : lanes.weigh(lw);
      const auto& corners = u ? lanes.slope : lanes.corner;
      with_rows<F>(p.table, p.table_half, grid.level[l].offset, [&](const auto* rows) {
        prefetch_rows<false>(rows, grid.level[l], lanes.row, count);
        for (int i = 0; i < count; ++i) {
          std::uint32_t row[8];
          T c[8], e[F];
          pick(lanes.row, i, row);
          pick(corners, i, c);
          hash_gather<F>(rows, row, c, e);
          T* to = out + (first + i) * width + l * F;
          for (int f = 0; f < F; ++f) to[f] = e[f];
        }
      });
    };
    const auto masked = [&](int l, std::int64_t first, int count) {
      for (int i = 0; i < count; ++i) std::fill_n(out + (first + i) * width + l * F, F, T(0));
    };
    parallel_chunks(launch.threads, p.n, kChunk, [&](std::int64_t begin, std::int64_t end) {
      for_lanes(grid, begin, end, 0, grid.levels, p.x, u, p.level_weights, body, masked);
    });
  });
}

// Computes J^T a, or its derivative along u when u is given.
template <typename T>
void contract(Launch launch, const HashGridParams<T>& p, const T* a, const T* u, T* out) {
  const HashGrid& grid = p.grid;
  std::fill_n(out, 3 * p.n, T(0));
  with_features(grid.features, [&](auto features) {
    constexpr int F = features;
    const std::int64_t width = static_cast<std::int64_t>(grid.levels) * F;
    const auto body = [&](int l, T lw, std::int64_t first, int count, Lanes<T>& lanes) {
      with_rows<F>(p.table, p.table_half, grid.level[l].offset, [&](const auto* rows) {
        prefetch_rows<false>(rows, grid.level[l], lanes.row, count);
        for (int i = 0; i < count; ++i) {
          std::uint32_t row[8];
          T s[8];
          pick(lanes.row, i, row);
          hash_contract<F>(rows, row, a + (first + i) * width + l * F, s);
#pragma GCC unroll 8
          for (int c = 0; c < 8; ++c) lanes.corner[c][i] = s[c];
        }
      });
      T* to = out + 3 * first;
#pragma GCC ivdep
      for (int i = 0; i < count; ++i) {
        const T wi[3] = {lanes.w[0][i], lanes.w[1][i], lanes.w[2][i]};
        const T di[3] = {lanes.d[0][i], lanes.d[1][i], lanes.d[2][i]};
        T s[8], g[3] = {T(0), T(0), T(0)};
        pick(lanes.corner, i, s);
        if (u) {
          const T ddi[3] = {lanes.dd[0][i], lanes.dd[1][i], lanes.dd[2][i]};
          const T ui[3] = {lanes.u[0][i], lanes.u[1][i], lanes.u[2][i]};
          add_hessian_product(s, wi, di, ddi, ui, lw, g);
        } else {
          add_gradient(s, wi, di, lw, g);
        }
        to[3 * i] += g[0], to[3 * i + 1] += g[1], to[3 * i + 2] += g[2];
      }
    };
    parallel_chunks(launch.threads, p.n, kChunk, [&](std::int64_t begin, std::int64_t end) {
      for_lanes(grid, begin, end, 0, grid.levels, p.x, u, p.level_weights, body, [](int, std::int64_t, int) {});
    });
  });
}

}  // namespace

template <typename T>
void hash_encode(Launch launch, const HashEncodeParams<T>& p) {
  gather<T>(launch, p.at, nullptr, p.out);
}

template <typename T>
void hash_jvp(Launch launch, const HashJvpParams<T>& p) {
  gather<T>(launch, p.at, p.u, p.out);
}

template <typename T>
void hash_encode_grad(Launch launch, const HashEncodeGradParams<T>& p) {
  contract<T>(launch, p.at, p.a, nullptr, p.out);
}

template <typename T>
void hash_hvp(Launch launch, const HashHvpParams<T>& p) {
  contract<T>(launch, p.at, p.a, p.u, p.out);
}

// A task owns a run of levels. There are two tasks per thread, to balance the load. With more threads than levels, a
// level's rows are split into ranges, and each task skips the rows of the others. Every row still receives its terms in
// sample order. Samples whose terms are all zero are skipped; in images with empty parts most are.
template <typename T>
void hash_scatter(Launch launch, const HashScatterParams<T>& params) {
  const HashGrid& grid = params.grid;
  const std::int64_t n = params.n;
  const T *d0 = params.d0, *u = params.u, *a0 = params.a0;
  const int groups = std::min(2 * std::max(launch.threads, 1), grid.levels);
  const int parts = std::max(1, launch.threads / grid.levels);
  with_features(grid.features, [&](auto features) {
    constexpr int F = features;
    const std::int64_t width = static_cast<std::int64_t>(grid.levels) * F;
    parallel_chunks(launch.threads, groups * parts, 1, [&](std::int64_t task, std::int64_t) {
      const int group = static_cast<int>(task) / parts, part = static_cast<int>(task) % parts;
      const auto body = [&](int l, T lw, std::int64_t first, int count, Lanes<T>& lanes) {
        if (d0) lanes.weigh(lw);
        if (u) lanes.tilt(lw);
        const HashLevel& level = grid.level[l];
        const std::uint64_t rows = level_rows(level);
        const std::uint64_t low = rows * part / parts, high = rows * (part + 1) / parts;
        auto* to = reinterpret_cast<HashRow<T, F>*>(params.out) + level.offset;
        prefetch_rows<true>(to, level, lanes.row, count);
        for (int i = 0; i < count; ++i) {
          const std::int64_t at = (first + i) * width + l * F;
          T p[F], q[F];
          bool any = false;
          for (int f = 0; f < F; ++f) {
            p[f] = d0 ? d0[at + f] : T(0), q[f] = u ? a0[at + f] : T(0);
            any |= p[f] != T(0) || q[f] != T(0);
          }
          if (!any) continue;
          for (int c = 0; c < 8; ++c) {
            const std::uint32_t row = lanes.row[c][i];
            if (parts > 1 && (row < low || row >= high)) continue;
            const T w = d0 ? lanes.corner[c][i] : T(0), s = u ? lanes.slope[c][i] : T(0);
            for (int f = 0; f < F; ++f) to[row].v[f] += w * p[f] + s * q[f];
          }
        }
      };
      const int first_level = grid.levels * group / groups, last_level = grid.levels * (group + 1) / groups;
      for (std::int64_t begin = 0; begin < n; begin += kChunk) {
        for_lanes(grid, begin, std::min(n, begin + kChunk), first_level, last_level, params.x, u, params.level_weights,
                  body, [](int, std::int64_t, int) {});
      }
    });
  });
}

DFAST_HASHGRID(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
