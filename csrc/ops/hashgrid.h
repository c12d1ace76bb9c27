// Multiresolution hash encoding (Instant-NGP, arXiv 2201.05989): parameters, and the bodies for one cell.
//
//   e[l F + f] = lw_l sum_c w_c(x) T[c, f],   c over the 8 corners of x's cell in level l
//
// where lw_l is the level's weight, w_c the corner's weight and T the table. The five ops differ only in what they
// contract with the corner weights and their derivatives:
//   hash_encode       e
//   hash_encode_grad  g_d  = sum_lf a_lf de_lf/dx_d                        J^T a
//   hash_jvp          edot = sum_d u_d de/dx_d                             J u
//   hash_scatter      dT[c, f] += lw_l (w_c d0_lf + (u . grad w_c) a0_lf)  both orders in one pass
//   hash_hvp          h_d  = sum_lf a_lf sum_k u_k d2 e_lf / dx_k dx_d     the position term in the backward pass of
//   J^T a
#pragma once

#include <cstdint>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "math/half.h"
#include "math/hashgrid.h"
#include "ops/launcher.h"

namespace dfast {

constexpr int kMaxLevels = 32;

// The shape of a grid; kernels take it by value.
struct HashGrid {
  int levels = 0;       // L, 1..32
  int features = 0;     // F: 1, 2, 4 or 8
  bool smooth = false;  // smoothstep instead of linear weights
  HashLevel level[kMaxLevels] = {};
};

inline HashGrid make_hash_grid(int features, bool smooth, const std::vector<double>& scales,
                               const std::vector<std::int64_t>& resolutions,
                               const std::vector<std::int64_t>& offsets,  // [L + 1] first rows
                               const std::vector<bool>& dense, int dimensions) {
  HashGrid grid;
  grid.levels = static_cast<int>(scales.size());
  grid.features = features;
  grid.smooth = smooth;
  if (grid.levels < 1 || grid.levels > kMaxLevels || offsets.size() != scales.size() + 1 ||
      resolutions.size() != scales.size() || dense.size() != scales.size() ||
      !(features == 1 || features == 2 || features == 4 || features == 8) || !(dimensions == 2 || dimensions == 3)) {
    throw std::invalid_argument("HashGrid: inconsistent levels or unsupported features");
  }
  for (int l = 0; l < grid.levels; ++l) {
    const std::int64_t rows = offsets[l + 1] - offsets[l];
    const std::int64_t depth = dimensions == 3 ? resolutions[l] : 1;
    if (dense[l] ? rows < resolutions[l] * resolutions[l] * depth : (rows & (rows - 1)) != 0) {
      throw std::invalid_argument("HashGrid: a dense level needs a row for each vertex, a hashed one a power of two");
    }
    if (offsets[l] % 2 != 0) throw std::invalid_argument("HashGrid: levels start at even rows");
    grid.level[l] = {scales[l],
                     static_cast<std::int32_t>(resolutions[l]),
                     dense[l],
                     static_cast<std::uint32_t>(dense[l] ? 0 : rows - 1),
                     static_cast<std::int32_t>(depth),
                     offsets[l]};
  }
  return grid;
}

// Calls f(std::integral_constant<int, F>).
template <typename Body>
void with_features(int features, const Body& f) {
  switch (features) {
    case 1:
      return f(std::integral_constant<int, 1>{});
    case 2:
      return f(std::integral_constant<int, 2>{});
    case 4:
      return f(std::integral_constant<int, 4>{});
    default:
      return f(std::integral_constant<int, 8>{});
  }
}

// One table row. Rows start at multiples of their own size, so that the hardware can read each as one word.
template <typename V, int F>
struct alignas(sizeof(V) * F < 16 ? sizeof(V) * F : 16) HashRow {
  V v[F];
};

// Computes sum_c w_c T[c, :] over the eight rows of a cell. `table` points to the first row of the level.
template <int F, typename T, typename V>
DFAST_HD void hash_gather(const HashRow<V, F>* table, const std::uint32_t row[8], const T w[8], T out[F]) {
  for (int f = 0; f < F; ++f) out[f] = T(0);
  for (int c = 0; c < 8; ++c) {
    const HashRow<V, F> r = table[row[c]];
    for (int f = 0; f < F; ++f) out[f] += w[c] * widen<T>(r.v[f]);
  }
}

// Computes s_c = sum_f a_f T[c, f], the rows of a cell contracted with a.
template <int F, typename T, typename V>
DFAST_HD void hash_contract(const HashRow<V, F>* table, const std::uint32_t row[8], const T a[F], T s[8]) {
  for (int c = 0; c < 8; ++c) {
    const HashRow<V, F> r = table[row[c]];
    s[c] = T(0);
    for (int f = 0; f < F; ++f) s[c] += a[f] * widen<T>(r.v[f]);
  }
}

// The arguments that every op reading the table shares: N points, L levels, F features.
template <class T>
struct HashGridParams {
  HashGrid grid;
  std::int64_t n;          // N
  const T* x;              // [N, 3] in [0, 1], z = 0 in two dimensions
  const T* table;          // [entries, F]
  const Half* table_half;  // [entries, F], nullable: read in place of `table`; T = float only
  const T* level_weights;  // [L], nullable: all ones

  DFAST_FIELDS(grid, n, x, table, table_half, level_weights)
};

template <class T>
struct HashEncodeParams {
  HashGridParams<T> at;
  T* out;  // [N, L F]

  DFAST_FIELDS(at, out)
};

template <class T>
struct HashEncodeGradParams {
  HashGridParams<T> at;
  const T* a;  // [N, L F]
  T* out;      // [N, 3]

  DFAST_FIELDS(at, a, out)
};

template <class T>
struct HashJvpParams {
  HashGridParams<T> at;
  const T* u;  // [N, 3]
  T* out;      // [N, L F]

  DFAST_FIELDS(at, u, out)
};

template <class T>
struct HashHvpParams {
  HashGridParams<T> at;
  const T* a;  // [N, L F]
  const T* u;  // [N, 3]
  T* out;      // [N, 3]

  DFAST_FIELDS(at, a, u, out)
};

template <class T>
struct HashScatterParams {
  HashGrid grid;
  std::int64_t n;            // N
  const T* x;                // [N, 3] in [0, 1], z = 0 in two dimensions
  const T* level_weights;    // [L], nullable: all ones
  const T* d0;               // [N, L F], nullable with u given
  const T* u;                // [N, 3], nullable
  const T* a0;               // [N, L F], nullable with u
  std::int64_t entries;      // rows of the table
  T* out;                    // [entries, F], zeroed; the launcher adds to it
  std::int64_t* fixed;       // [entries, F], zeroed, nullable: sums of CUDA that do not depend on the order
  const double* fixed_unit;  // [1] on the device: the value of one count in `fixed`

  DFAST_FIELDS(grid, n, x, level_weights, d0, u, a0, entries, out, fixed, fixed_unit)
};

#define DFAST_HASHGRID(X)                                 \
  DFAST_FLOATS(X, hash_encode, HashEncodeParams)          \
  DFAST_FLOATS(X, hash_encode_grad, HashEncodeGradParams) \
  DFAST_FLOATS(X, hash_jvp, HashJvpParams)                \
  DFAST_FLOATS(X, hash_hvp, HashHvpParams)                \
  DFAST_FLOATS(X, hash_scatter, HashScatterParams)
DFAST_HASHGRID(DFAST_DECLARE)

}  // namespace dfast
