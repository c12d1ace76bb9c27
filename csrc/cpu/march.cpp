#include "ops/march.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kRays = 256;  // rays of a chunk, which take some tens of microseconds

template <class T>
void march_count(Launch launch, const MarchCountParams<T>& params) {
  const MarchParams<T>& p = params.march;
  const MarchRuns keep{params.runs, p.cone_angle > T(0) ? 0 : params.max_runs, p.rays};
  parallel_chunks(launch.threads, p.rays, kRays, [&](int64_t begin, int64_t end) {
    int32_t kept = 0, hits = 0;
    for (int64_t r = begin; r < end; ++r) {
      MarchCount<T> counter{keep, r};
      hits += march_ray(p, r, 0, counter);
      counter.close();
      kept += params.counts[r] = counter.count;
    }
    params.sums[2 * (begin / kRays)] = kept;
    params.sums[2 * (begin / kRays) + 1] = hits;
  });
}

template <class T>
void march_write(Launch launch, const MarchWriteParams<T>& params) {
  const MarchParams<T>& p = params.march;
  const int max_runs = p.cone_angle > T(0) ? 0 : params.max_runs;
  const int64_t rays = p.rays, max_samples = params.max_samples;
  int32_t* offsets = params.offsets;
  int64_t num_samples = 0;
  for (int64_t r = 0; r < rays; ++r) {
    offsets[r] = static_cast<int32_t>(std::min(num_samples, max_samples));
    num_samples += params.counts[r];
  }
  offsets[rays] = static_cast<int32_t>(std::min(num_samples, max_samples));
  *params.num_samples = num_samples;
  *params.overflow = num_samples > max_samples;
  *params.num_rays_hit = 0;
  for (int64_t i = 0; i < (rays + kRays - 1) / kRays; ++i) *params.num_rays_hit += params.sums[2 * i + 1];

  parallel_chunks(launch.threads, rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (offsets[r] == offsets[r + 1]) continue;
      MarchWrite<T> writer{params.out, p.origins + 3 * r, p.directions + 3 * r, static_cast<int32_t>(r),
                           offsets[r], offsets[r + 1]};
      MarchRay<T> line = {};
      line.start(p, r);
      bool more = true;
      int next = 0;
      for (int j = 0; j < max_runs && more; ++j) {
        const MarchRun run = params.runs[j * rays + r];
        more = writer.run(line, p.step_size, run.begin, run.end);
        next = run.end;
      }
      if (more) march_ray(p, r, next, writer);
      writer.finish();
    }
  });
}

DFAST_MARCH(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
