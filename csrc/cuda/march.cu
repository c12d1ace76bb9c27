#include "ops/march.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

// One thread a ray, both passes. Neighbouring rays of an image walk neighbouring bricks, so the bitfield (32 KiB at
// 64^3) stays in L1; what bounds it is divergence between rays of different length.
template <class T>
__global__ void count_kernel(MarchParams<T> p, int32_t* counts) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= p.rays) return;
  MarchCount<T> counter;
  march_ray(p, r, counter);
  counts[r] = counter.count;
}

template <class T>
__global__ void write_kernel(MarchParams<T> p, const int32_t* offsets, T* t, T* dt, int32_t* ray) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (r >= p.rays || offsets[r] == offsets[r + 1]) return;
  MarchWrite<T> writer{t, dt, ray, static_cast<int32_t>(r), offsets[r], offsets[r + 1]};
  march_ray(p, r, writer);
  writer.finish();
}

}  // namespace

template <class T>
void march_count(Launch launch, const T* origins, const T* directions, const T* jitter, const uint64_t* bits,
                 int64_t rays, int resolution, T radius, T step, T growth, int32_t* counts) {
  const MarchParams<T> p{origins, directions, jitter, bits, rays, resolution, radius, step, growth};
  if (rays == 0) return;
  const DeviceGuard guard(launch.device);
  count_kernel<<<blocks_for(rays, kBlock), kBlock, 0, stream_of(launch)>>>(p, counts);
  check(cudaGetLastError(), "march_count");
}

template <class T>
void march_write(Launch launch, const T* origins, const T* directions, const T* jitter, const uint64_t* bits,
                 int64_t rays, int resolution, T radius, T step, T growth, const int32_t* offsets, T* t, T* dt,
                 int32_t* ray) {
  const MarchParams<T> p{origins, directions, jitter, bits, rays, resolution, radius, step, growth};
  if (rays == 0) return;
  const DeviceGuard guard(launch.device);
  write_kernel<<<blocks_for(rays, kBlock), kBlock, 0, stream_of(launch)>>>(p, offsets, t, dt, ray);
  check(cudaGetLastError(), "march_write");
}

#define INSTANTIATE(T)                                                                                               \
  template void march_count(Launch, const T*, const T*, const T*, const uint64_t*, int64_t, int, T, T, T, int32_t*); \
  template void march_write(Launch, const T*, const T*, const T*, const uint64_t*, int64_t, int, T, T, T,            \
                            const int32_t*, T*, T*, int32_t*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace dfast::cuda
