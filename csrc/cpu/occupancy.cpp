#include "ops/occupancy.h"

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kBricks = 256;  // bricks of a chunk

template <class T>
void occupancy_points(Launch launch, const OccupancyPointsParams<T>& p) {
  parallel_chunks(launch.threads, p.at.runs, kOccupancyPart, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) occupancy_point(p, r);
  });
}

template <class T>
void occupancy_update(Launch launch, const OccupancyUpdateParams<T>& p) {
  parallel_chunks(launch.threads, p.at.runs, kOccupancyPart, [&](int64_t begin, int64_t end) {
    OccupancySums sums;
    for (int64_t r = begin; r < end; ++r) occupancy_visit(p, r, sums);
    double* const part = p.parts + 2 * (begin / kOccupancyPart);
    part[0] = sums.density, part[1] = sums.visited;
  });
  OccupancySums all;
  for (int64_t i = 0; i * kOccupancyPart < p.at.runs; ++i) {
    all.density += p.parts[2 * i], all.visited += p.parts[2 * i + 1];
  }
  const T limit = occupancy_limit(all, p.threshold);
  const int64_t side = p.resolution / 4;
  parallel_chunks(launch.threads, side * side * side, kBricks, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) p.bricks[b] = occupancy_brick(p.density, p.resolution, limit, b);
  });
}

DFAST_OCCUPANCY(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
