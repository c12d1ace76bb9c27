// An update of the occupancy grid: one cell of each run of neighbours is visited at a random point, and bits tell which
// cells rays are marched through.
//
// The grid's C cells that touch the sphere are cut into R runs, floor(r C / R) .. floor((r + 1) C / R). draw[r] holds
// four uniform numbers: three place the point in the cell, the last one chooses the cell of the run. Then
//     density = max(decay * max(0, density), found)                      in the cells visited,
//     limit = min(threshold, half the mean density of the cells ever visited),
// and a cell is occupied where its density is above the limit, where it was never visited (-1), and where it is NaN:
// the render must show that, not skip it. The mean is the sum of fixed parts in a fixed order, the same in every run.
#pragma once

#include <cmath>
#include <cstdint>

#include "math/ray.h"
#include "ops/launcher.h"

namespace dfast {

template <class T>
struct OccupancyRuns {
  const int64_t* cells;  // [C] rising: x slowest
  int64_t inside;        // C
  const T* draw;         // [R, 4] in [0, 1)
  int64_t runs;          // R, 1 .. C

  DFAST_FIELDS(cells, inside, draw, runs)

  DFAST_HD int64_t first(int64_t r) const { return r * inside / runs; }
  // Returns the index in `cells` of the cell that is visited in run r, first .. end.
  DFAST_HD int64_t visited(int64_t r, int64_t first, int64_t end) const {
    const int64_t length = end - first, pick = static_cast<int64_t>(draw[4 * r + 3] * T(length));
    return first + (pick < length ? pick : length - 1);
  }
};

template <class T>
struct OccupancyPointsParams {
  OccupancyRuns<T> at;
  int resolution;  // cells a side
  T radius;        // the grid spans [-radius, radius]^3
  T* x;            // [R, 3] world

  DFAST_FIELDS(at, resolution, radius, x)
};

template <class T>
DFAST_HD void occupancy_point(const OccupancyPointsParams<T>& p, int64_t r) {
  const int64_t cell = p.at.cells[p.at.visited(r, p.at.first(r), p.at.first(r + 1))], n = p.resolution;
  const int64_t corner[3] = {cell / (n * n), cell / n % n, cell % n};
  const T side = T(2) * p.radius / T(n);
  for (int k = 0; k < 3; ++k) p.x[3 * r + k] = (T(corner[k]) + p.at.draw[4 * r + k]) * side - p.radius;
}

constexpr int64_t kOccupancyPart = 512;  // runs whose densities are summed one after the other, or by one block

template <class T>
struct OccupancyUpdateParams {
  OccupancyRuns<T> at;
  const T* found;    // [R] density at the points
  int resolution;    // a multiple of 4
  T decay;           // in (0, 1]
  T threshold;       // >= 0
  double* parts;     // [2 ceil(R / kOccupancyPart)] scratch: each part's sum of densities and number of visited cells
  T* density;        // [resolution^3] in place; -1 where never visited, 0 outside the sphere
  uint64_t* bricks;  // [(resolution / 4)^3] bits of 4^3 cells each

  DFAST_FIELDS(at, found, resolution, decay, threshold, parts, density, bricks)
};

// The densities of some cells.
struct OccupancySums {
  double density = 0.0, visited = 0.0;
};

// Visits a cell of run r and adds the run's densities.
template <class T>
DFAST_HD void occupancy_visit(const OccupancyUpdateParams<T>& p, int64_t r, OccupancySums& sums) {
  const int64_t first = p.at.first(r), end = p.at.first(r + 1), visited = p.at.visited(r, first, end);
  for (int64_t i = first; i < end; ++i) {
    T* const at = p.density + p.at.cells[i];
    T value = *at;
    if (i == visited) {
      const T old = value < T(0) ? T(0) : value * p.decay, found = p.found[r];
      value = old > found || old != old ? old : found;  // NaN if either is
      *at = value;
    }
    if (value < T(0)) continue;
    sums.density += static_cast<double>(value);
    if (value >= T(0)) sums.visited += 1.0;
  }
}

template <class T>
DFAST_HD T occupancy_limit(const OccupancySums& sums, T threshold) {
  const T half = static_cast<T>(0.5 * sums.density / (sums.visited > 1.0 ? sums.visited : 1.0));
  return half < threshold ? half : threshold;  // the threshold for NaN
}

// Returns the bits of a brick.
template <class T>
DFAST_HD uint64_t occupancy_brick(const T* density, int resolution, T limit, int64_t brick) {
  const int64_t n = resolution, bricks = n / 4;
  const int64_t x = 4 * (brick / (bricks * bricks)), y = 4 * (brick / bricks % bricks), z = 4 * (brick % bricks);
  uint64_t bits = 0;
  for (int i = 0; i < 16; ++i) {
    const T* const row = density + ((x + i / 4) * n + y + i % 4) * n + z;
    for (int k = 0; k < 4; ++k) {
      const T value = row[k];
      const bool empty = value >= T(0) && value <= limit;  // false for NaN
      bits |= static_cast<uint64_t>(!empty) << (4 * i + k);
    }
  }
  return bits;
}

#define DFAST_OCCUPANCY(X)                                 \
  DFAST_FLOATS(X, occupancy_points, OccupancyPointsParams) \
  DFAST_FLOATS(X, occupancy_update, OccupancyUpdateParams)
DFAST_OCCUPANCY(DFAST_DECLARE)

}  // namespace dfast
