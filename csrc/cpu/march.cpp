#include "ops/march.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kRays = 256;  // a chunk: some tens of microseconds

template <class T>
void march_count(Launch launch, const T* origins, const T* directions, const T* jitter, const uint64_t* bits,
                 int64_t rays, int resolution, T radius, T step, T growth, int limit, int /*lanes*/, int32_t* counts,
                 MarchRun* runs, int32_t* sums) {
  const MarchParams<T> p{origins, directions, jitter, bits, rays, resolution, radius, step, growth};
  const MarchRuns keep{runs, growth > T(0) ? 0 : limit, rays};
  parallel_chunks(launch.threads, rays, kRays, [&](int64_t begin, int64_t end) {
    int32_t kept = 0, met = 0;
    for (int64_t r = begin; r < end; ++r) {
      MarchCount<T> counter{keep, r};
      met += march_ray(p, r, 0, counter);
      counter.close();
      kept += counts[r] = counter.count;
    }
    sums[2 * (begin / kRays)] = kept;
    sums[2 * (begin / kRays) + 1] = met;
  });
}

template <class T>
void march_write(Launch launch, const T* origins, const T* directions, const T* jitter, const uint64_t* bits,
                 int64_t rays, int resolution, T radius, T step, T growth, int limit, int /*lanes*/,
                 const int32_t* counts, const MarchRun* runs, const int32_t* sums, int64_t capacity, int32_t* offsets,
                 T* t, T* dt, int32_t* ray, T* x, int64_t* total, bool* overflow, int64_t* met) {
  const MarchParams<T> p{origins, directions, jitter, bits, rays, resolution, radius, step, growth};
  if (growth > T(0)) limit = 0;
  int64_t wanted = 0;
  for (int64_t r = 0; r < rays; ++r) {
    offsets[r] = static_cast<int32_t>(std::min(wanted, capacity));
    wanted += counts[r];
  }
  offsets[rays] = static_cast<int32_t>(std::min(wanted, capacity));
  *total = wanted;
  *overflow = wanted > capacity;
  *met = 0;
  for (int64_t i = 0; i < (rays + kRays - 1) / kRays; ++i) *met += sums[2 * i + 1];

  parallel_chunks(launch.threads, rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (offsets[r] == offsets[r + 1]) continue;
      MarchWrite<T> writer{{t, dt, ray, x},         origins + 3 * r, directions + 3 * r,
                           static_cast<int32_t>(r), offsets[r],      offsets[r + 1]};
      MarchRay<T> line = {};
      line.start(p, r);
      bool more = true;
      int next = 0;
      for (int j = 0; j < limit && more; ++j) {
        const MarchRun run = runs[j * rays + r];
        more = writer.run(line, step, run.begin, run.end);
        next = run.end;
      }
      if (more) march_ray(p, r, next, writer);
      writer.finish();
    }
  });
}

#define INSTANTIATE(T)                                                                                                \
  template void march_count(Launch, const T*, const T*, const T*, const uint64_t*, int64_t, int, T, T, T, int, int,   \
                            int32_t*, MarchRun*, int32_t*);                                                           \
  template void march_write(Launch, const T*, const T*, const T*, const uint64_t*, int64_t, int, T, T, T, int, int,   \
                            const int32_t*, const MarchRun*, const int32_t*, int64_t, int32_t*, T*, T*, int32_t*, T*, \
                            int64_t*, bool*, int64_t*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace dfast::cpu
