#include "ops/march.h"

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kRays = 256;  // a chunk: some tens of microseconds

template <class T>
void march_count(Launch launch, const T* origins, const T* directions, const T* jitter, const uint64_t* bits,
                 int64_t rays, int resolution, T radius, T step, T growth, int32_t* counts) {
  const MarchParams<T> p{origins, directions, jitter, bits, rays, resolution, radius, step, growth};
  parallel_chunks(launch.threads, rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      MarchCount<T> counter;
      march_ray(p, r, counter);
      counts[r] = counter.count;
    }
  });
}

template <class T>
void march_write(Launch launch, const T* origins, const T* directions, const T* jitter, const uint64_t* bits,
                 int64_t rays, int resolution, T radius, T step, T growth, const int32_t* offsets, T* t, T* dt,
                 int32_t* ray) {
  const MarchParams<T> p{origins, directions, jitter, bits, rays, resolution, radius, step, growth};
  parallel_chunks(launch.threads, rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (offsets[r] == offsets[r + 1]) continue;
      MarchWrite<T> writer{t, dt, ray, static_cast<int32_t>(r), offsets[r], offsets[r + 1]};
      march_ray(p, r, writer);
      writer.finish();
    }
  });
}

#define INSTANTIATE(T)                                                                                               \
  template void march_count(Launch, const T*, const T*, const T*, const uint64_t*, int64_t, int, T, T, T, int32_t*); \
  template void march_write(Launch, const T*, const T*, const T*, const uint64_t*, int64_t, int, T, T, T,            \
                            const int32_t*, T*, T*, int32_t*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace dfast::cpu
