// Two launches, no atomics, nothing to reset. Counting: a thread a ray; neighbouring rays of an image walk neighbouring
// bricks, so the bitfield stays in L1, and what bounds it is the latency of one lookup after the other. Each block
// leaves its sum. Writing: a block learns its first slot by adding up the sums of the blocks before it (at most
// rays / 128 numbers out of L2) and scans its own counts; then a warp writes a ray's runs, lane beside lane, which is
// bound by the memory it fills. Rays with more runs than were stored, and growing steps, are walked again, a thread a
// ray.
#include "ops/march.h"

#include "cuda/warp_ray.h"

namespace dfast::cuda {

namespace {

constexpr int kThreads = 256;  // of a writing block
constexpr int kWarps = kThreads / 32;

// Few rays are spread over the whole device by small blocks; many are cut into fewer blocks to sum.
constexpr int kFewRays = 32, kManyRays = 128;
constexpr int64_t kMany = 1 << 16;

struct BlockSum {
  int32_t kept;  // samples
  int32_t met;   // rays that meet the sphere
};

template <int kRays, class T>
__global__ void __launch_bounds__(kRays)
    count_kernel(MarchParams<T> p, MarchRuns runs, int32_t* counts, BlockSum* sums) {
  __shared__ int32_t kept[kRays / 32];
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kRays + threadIdx.x;
  MarchCount<T> counter{runs, r};
  bool met = false;
  if (r < p.rays) {
    met = march_ray(p, r, 0, counter);
    counter.close();
    counts[r] = counter.count;
  }
  const int32_t sum = warp_sum(counter.count);
  if (threadIdx.x % 32 == 0) kept[threadIdx.x / 32] = sum;
  const int hits = __syncthreads_count(met);
  if (threadIdx.x == 0) {
    int32_t all = 0;
    for (int w = 0; w < kRays / 32; ++w) all += kept[w];
    sums[blockIdx.x] = {all, hits};
  }
}

// The sum of `value` over the block, in every thread.
__device__ __forceinline__ int64_t block_sum(long long value, long long* shared /* [kWarps] */) {
  value = warp_sum(value);
  __syncthreads();  // an earlier sum has been read
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  long long all = 0;
  for (int w = 0; w < kWarps; ++w) all += shared[w];
  return all;
}

// One warp: starts[i] = counts[0] + ... + counts[i - 1]; counts has `n` <= kRays numbers.
template <int kRays>
__device__ __forceinline__ void scan_counts(const int32_t* counts, int n, int lane, int32_t* starts /* [kRays + 1] */) {
  constexpr int kEach = kRays / 32;
  int32_t own[kEach], sum = 0;
  for (int i = 0; i < kEach; ++i) {
    const int at = lane * kEach + i;
    own[i] = at < n ? counts[at] : 0;
    sum += own[i];
  }
  int32_t before = sum;
  for (int d = 1; d < 32; d <<= 1) {
    const int32_t lower = __shfl_up_sync(kAllLanes, before, d);
    if (lane >= d) before += lower;
  }
  before -= sum;
  for (int i = 0; i < kEach; ++i) {
    starts[lane * kEach + i] = before;
    before += own[i];
  }
  if (lane == 31) starts[kRays] = before;
}

// One warp: n intervals of a ray from interval k on into the slots from `slot` on. Positions are written as 3 n
// neighbouring numbers.
template <class T>
__device__ __forceinline__ void write_run(const MarchOutput<T>& out, const MarchRay<T>& ray, const T* origin,
                                          const T* direction, T step, int32_t id, int k, int n, int64_t slot,
                                          int lane) {
  T t, dt;
  for (int i = lane; i < n; i += 32) {
    ray.interval(k + i, step, &t, &dt);
    out.t[slot + i] = t;
    out.dt[slot + i] = dt;
    out.ray[slot + i] = id;
  }
  for (int f = lane; f < 3 * n; f += 32) {
    const int i = f / 3, c = f - 3 * i;
    ray.interval(k + i, step, &t, &dt);
    const T o = c == 0 ? origin[0] : c == 1 ? origin[1] : origin[2];
    const T d = c == 0 ? direction[0] : c == 1 ? direction[1] : direction[2];
    out.x[3 * slot + f] = o + t * d;
  }
}

template <int kRays, class T>
__global__ void __launch_bounds__(kThreads)
    write_kernel(MarchParams<T> p, MarchRuns runs, const int32_t* counts, const BlockSum* sums, int blocks,
                 int64_t capacity, int32_t* offsets, MarchOutput<T> out, int64_t* total, bool* overflow, int64_t* met) {
  __shared__ long long partial[kWarps];
  __shared__ int32_t starts[kRays + 1];     // of the block's rays, from its first slot on
  __shared__ int64_t rest_slot[kRays];      // where the stored runs of a ray end
  __shared__ int32_t rest_interval[kRays];  // the first interval behind them
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t first_ray = static_cast<int64_t>(blockIdx.x) * kRays;
  const int n = static_cast<int>(p.rays - first_ray < kRays ? p.rays - first_ray : kRays);

  if (warp == 0) scan_counts<kRays>(counts + first_ray, n, lane, starts);
  long long before = 0;
  for (int b = threadIdx.x; b < static_cast<int>(blockIdx.x); b += kThreads) before += sums[b].kept;
  const int64_t base = block_sum(before, partial);  // and `starts` is complete
  const auto slot_of = [&](int i) { return base + starts[i] < capacity ? base + starts[i] : capacity; };

  for (int i = threadIdx.x; i < n; i += kThreads) offsets[first_ray + i] = static_cast<int32_t>(slot_of(i));
  if (blockIdx.x == gridDim.x - 1) {
    long long hits = 0;
    for (int b = threadIdx.x; b < blocks; b += kThreads) hits += sums[b].met;
    hits = block_sum(hits, partial);
    if (threadIdx.x == 0) {
      offsets[p.rays] = static_cast<int32_t>(slot_of(kRays));
      *total = base + starts[kRays];
      *overflow = *total > capacity;
      *met = hits;
    }
  }

  for (int i = warp; i < n; i += kWarps) {  // what decides is the same in all lanes
    int64_t slot = slot_of(i);
    const int64_t end = slot_of(i + 1), r = first_ray + i;
    if (slot == end) continue;
    MarchRay<T> ray;
    ray.start(p, r);
    T origin[3], direction[3];
    for (int c = 0; c < 3; ++c) origin[c] = p.origins[3 * r + c], direction[c] = p.directions[3 * r + c];
    int next = 0;
    for (int j = 0; j < runs.limit && slot < end; ++j) {
      const MarchRun run = runs.run[j * runs.rays + r];
      const int length = run.end - run.begin < end - slot ? run.end - run.begin : static_cast<int>(end - slot);
      write_run(out, ray, origin, direction, p.step, static_cast<int32_t>(r), run.begin, length, slot, lane);
      slot += length;
      next = run.end;
    }
    if (lane == 0) rest_slot[i] = slot, rest_interval[i] = next;
  }
  __syncthreads();

  for (int i = threadIdx.x; i < n; i += kThreads) {
    const int64_t end = slot_of(i + 1), r = first_ray + i;
    if (slot_of(i) == end || rest_slot[i] == end) continue;
    MarchWrite<T> writer{out, p.origins + 3 * r, p.directions + 3 * r, static_cast<int32_t>(r), rest_slot[i], end};
    march_ray(p, r, rest_interval[i], writer);
    writer.finish();
  }
}

template <int kRays, class T>
void count(const MarchParams<T>& p, const MarchRuns& runs, int32_t* counts, int32_t* sums, cudaStream_t stream) {
  if (p.rays == 0) return;
  count_kernel<kRays>
      <<<blocks_for(p.rays, kRays), kRays, 0, stream>>>(p, runs, counts, reinterpret_cast<BlockSum*>(sums));
}

// Runs without rays too: the totals have to be written.
template <int kRays, class T>
void write(const MarchParams<T>& p, const MarchRuns& runs, const int32_t* counts, const int32_t* sums, int64_t capacity,
           int32_t* offsets, const MarchOutput<T>& out, int64_t* total, bool* overflow, int64_t* met,
           cudaStream_t stream) {
  const unsigned blocks = blocks_for(p.rays, kRays);
  write_kernel<kRays><<<blocks ? blocks : 1, kThreads, 0, stream>>>(
      p, runs, counts, reinterpret_cast<const BlockSum*>(sums), static_cast<int>(blocks), capacity, offsets, out, total,
      overflow, met);
}

}  // namespace

template <class T>
void march_count(Launch launch, const T* origins, const T* directions, const T* jitter, const uint64_t* bits,
                 int64_t rays, int resolution, T radius, T step, T growth, int limit, int32_t* counts, MarchRun* runs,
                 int32_t* sums) {
  const MarchParams<T> p{origins, directions, jitter, bits, rays, resolution, radius, step, growth};
  const MarchRuns keep{runs, growth > T(0) ? 0 : limit, rays};
  const DeviceGuard guard(launch.device);
  const auto run = rays > kMany ? &count<kManyRays, T> : &count<kFewRays, T>;
  run(p, keep, counts, sums, stream_of(launch));
  check(cudaGetLastError(), "march_count");
}

template <class T>
void march_write(Launch launch, const T* origins, const T* directions, const T* jitter, const uint64_t* bits,
                 int64_t rays, int resolution, T radius, T step, T growth, int limit, const int32_t* counts,
                 const MarchRun* runs, const int32_t* sums, int64_t capacity, int32_t* offsets, T* t, T* dt,
                 int32_t* ray, T* x, int64_t* total, bool* overflow, int64_t* met) {
  const MarchParams<T> p{origins, directions, jitter, bits, rays, resolution, radius, step, growth};
  const MarchRuns kept{const_cast<MarchRun*>(runs), growth > T(0) ? 0 : limit, rays};
  const DeviceGuard guard(launch.device);
  const auto run = rays > kMany ? &write<kManyRays, T> : &write<kFewRays, T>;
  run(p, kept, counts, sums, capacity, offsets, {t, dt, ray, x}, total, overflow, met, stream_of(launch));
  check(cudaGetLastError(), "march_write");
}

#define INSTANTIATE(T)                                                                                                \
  template void march_count(Launch, const T*, const T*, const T*, const uint64_t*, int64_t, int, T, T, T, int,        \
                            int32_t*, MarchRun*, int32_t*);                                                           \
  template void march_write(Launch, const T*, const T*, const T*, const uint64_t*, int64_t, int, T, T, T, int,        \
                            const int32_t*, const MarchRun*, const int32_t*, int64_t, int32_t*, T*, T*, int32_t*, T*, \
                            int64_t*, bool*, int64_t*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace dfast::cuda
