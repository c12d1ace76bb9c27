// Multiresolution hash encoding (Instant-NGP, arXiv 2201.05989): parameters and per-item bodies.
//
//   e[l F + f] = lw_l sum_c w_c(x) T[c, f],   c over the 8 corners of x's cell in level l
//
// The five ops differ only in what they contract with the corner weights w_c and their derivatives:
//   hash_encode       e                                                    J's antiderivative
//   hash_encode_grad  g_d  = sum_lf a_lf de_lf/dx_d                        J^T a
//   hash_jvp          edot = sum_d u_d de/dx_d                             J u
//   hash_scatter      dT[c, f] += lw_l (w_c d0_lf + (u . grad w_c) a0_lf)  both orders, one pass
//   hash_hvp          h_d  = sum_lf a_lf sum_k u_k d2 e_lf / dx_k dx_d     the position term of J^T a's own backward
#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "math/hashgrid.h"

namespace dfast {

constexpr int kMaxLevels = 32;

// Everything a launcher needs to know of a grid; passed to kernels by value.
struct HashGrid {
  int levels = 0;                 // L, 1..32
  int features = 0;               // F: 1, 2, 4 or 8
  bool smooth = false;            // smoothstep instead of linear weights
  HashLevel level[kMaxLevels] = {};
};

inline HashGrid make_hash_grid(int features, bool smooth, const std::vector<double>& scales,
                               const std::vector<std::int64_t>& resolutions,
                               const std::vector<std::int64_t>& offsets,  // L + 1 rows
                               const std::vector<bool>& dense) {
  HashGrid grid;
  grid.levels = static_cast<int>(scales.size());
  grid.features = features;
  grid.smooth = smooth;
  if (grid.levels < 1 || grid.levels > kMaxLevels || offsets.size() != scales.size() + 1 ||
      resolutions.size() != scales.size() || dense.size() != scales.size() ||
      !(features == 1 || features == 2 || features == 4 || features == 8)) {
    throw std::invalid_argument("HashGrid: inconsistent levels or unsupported features");
  }
  for (int l = 0; l < grid.levels; ++l) {
    const std::int64_t rows = offsets[l + 1] - offsets[l];
    if (dense[l] ? rows < resolutions[l] * resolutions[l] * resolutions[l] : (rows & (rows - 1)) != 0) {
      throw std::invalid_argument("HashGrid: a dense level needs resolution^3 rows, a hashed one a power of two");
    }
    grid.level[l] = {scales[l], static_cast<std::int32_t>(resolutions[l]), dense[l],
                     static_cast<std::uint32_t>(dense[l] ? 0 : rows - 1), offsets[l]};
  }
  return grid;
}

}  // namespace dfast
