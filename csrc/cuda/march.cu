// Ray marching in two launches without atomics and without memory to reset.
//
// The first pass counts. Where there are few rays, the serial reads of the bitfield take the time, so several lanes
// share a ray and each takes a stretch of its intervals. Runs that a border between stretches cuts in two are stored as
// one. Each block leaves its sum of samples and of rays that hit the sphere.
//
// The second pass writes. A block takes the rays of one counting block after the other. It computes their first slot by
// adding up the sums since its previous one, so that it reads every sum at most once, and scans the counts. Then a warp
// writes a ray, 32 samples at a time, which is bound by the memory written. For rays with more runs than were stored,
// the warp walks the rest again; growing steps are walked again by one thread per ray.
#include "ops/march.h"

#include "cuda/warp_ray.h"

namespace dfast::cuda {

namespace {

constexpr int kMaxRays = 64;   // largest number of rays of a block
constexpr int kThreads = 256;  // threads of a writing block
constexpr int kWarps = kThreads / 32;
constexpr unsigned kWriters =
    1055;  // blocks of the second pass; odd, so that a block's rays are spread over the columns of an image

// Rays of a counting block. Fewer rays per block balance the load better, but leave more sums to read.
constexpr int rays_a_block(int lanes) { return 256 / lanes < kMaxRays ? 256 / lanes : kMaxRays; }

struct BlockSum {
  int32_t kept;          // samples
  int32_t num_rays_hit;  // rays that meet the sphere
};

// Returns the sum over the lanes 0 .. lane of a group of kLanes neighbouring lanes.
template <int kLanes>
__device__ __forceinline__ int32_t scan_lanes(int32_t value, int lane) {
#pragma unroll
  for (int d = 1; d < kLanes; d <<= 1) {
    const int32_t lower = __shfl_up_sync(kAllLanes, value, d);
    if (lane >= d) value += lower;
  }
  return value;
}

// Stores the runs of ray r in order. `found` holds the runs of this lane's stretch, which begins with interval `begin`.
// Where a run continues in the next lane's stretch, its begin and its end come from different lanes.
template <int kLanes, class T>
__device__ __forceinline__ void store_runs(const MarchCount<T>& found, int begin, int lane, const MarchRuns& runs,
                                           int64_t r) {
  const MarchRun* own = found.runs.run + found.id;
  const int n = found.found;
  const int end_before = __shfl_up_sync(kAllLanes, found.open.end, 1);  // 0 if that lane has no run
  const bool joined = lane > 0 && n > 0 && end_before == begin && own[0].begin == begin;
  const bool continued = __shfl_down_sync(kAllLanes, static_cast<int>(joined), 1) && lane < kLanes - 1;
  const int at = scan_lanes<kLanes>(n - joined, lane) - n;  // position of own[0] among the ray's runs
  for (int i = 0; i < n && at + i < runs.max_runs; ++i) {
    const MarchRun run = own[i * found.runs.rays];
    MarchRun* to = runs.run + (at + i) * runs.rays + r;
    if (i > 0 || !joined) to->begin = run.begin;
    if (i < n - 1 || !continued) to->end = run.end;
  }
}

template <int kLanes, class T>
__global__ void __launch_bounds__(kLanes* rays_a_block(kLanes))
    count_kernel(MarchParams<T> p, MarchRuns runs, int32_t* counts, BlockSum* sums) {
  constexpr int kRays = rays_a_block(kLanes), kBlock = kRays * kLanes;
  __shared__ int32_t kept[kBlock / 32];
  __shared__ MarchRun own[kLanes > 1 ? kMarchMaxRuns * kBlock : 1];
  const int lane = threadIdx.x % kLanes;
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kRays + threadIdx.x / kLanes;
  const MarchRuns shared_runs{own, kMarchMaxRuns, kBlock};
  MarchCount<T> counter{runs, r};
  if (kLanes > 1) counter.runs = shared_runs, counter.id = threadIdx.x;
  // Runs that a ray does not have must be empty, because the second pass loads all of them.
  for (int i = lane; r < p.rays && i < runs.max_runs; i += kLanes) runs.run[i * runs.rays + r] = {0, 0};
  __syncwarp();

  MarchRay<T> ray;
  const bool num_rays_hit = r < p.rays && ray.start(p, r);
  int begin = 0;
  if (num_rays_hit && p.cone_angle > T(0)) {  // there is one lane
    march_growing(ray, p.step_size, p.cone_angle, counter);
  } else if (num_rays_hit) {
    const int intervals = ray.intervals(p.step_size), each = (intervals + kLanes - 1) / kLanes;
    begin = lane * each < intervals ? lane * each : intervals;
    march_constant(ray, p.step_size, begin, begin + each < intervals ? begin + each : intervals, counter);
  }
  counter.close();
  if (kLanes > 1) store_runs<kLanes>(counter, begin, lane, runs, r);

  const int32_t upto = scan_lanes<kLanes>(counter.count, lane);
  if (lane == kLanes - 1 && r < p.rays) counts[r] = upto;
  const int32_t sum = warp_sum(counter.count);
  if (threadIdx.x % 32 == 0) kept[threadIdx.x / 32] = sum;
  const int hits = __syncthreads_count(num_rays_hit && lane == 0);
  if (threadIdx.x == 0) {
    int32_t all = 0;
    for (int w = 0; w < kBlock / 32; ++w) all += kept[w];
    sums[blockIdx.x] = {all, hits};
  }
}

// Returns the sum of `value` over the block, in every thread.
__device__ __forceinline__ long long block_sum(long long value, long long* shared /* [kWarps] */) {
  value = warp_sum(value);
  __syncthreads();  // earlier contents of `shared` have been read
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  long long all = 0;
  for (int w = 0; w < kWarps; ++w) all += shared[w];
  return all;
}

// The state of a warp that writes the samples of ray `id`.
template <class T>
struct RayWriter {
  MarchOutput<T> out;
  MarchRay<T> ray;
  T step_size;
  const T* origin;     // [3]
  const T* direction;  // [3]
  int32_t id;
  int lane;

  // Writes the first `count` samples of all runs to the slots from `slot` on. Lane j < lanes holds a run that starts at
  // interval `begin` and that follows `before` samples of lower lanes.
  __device__ void write_runs(int begin, int before, int lanes, int count, int64_t slot, T* staged /* [96] */) const {
    T o[3], d[3];
    for (int c = 0; c < 3; ++c) o[c] = origin[c], d[c] = direction[c];
    for (int first = 0; first < count; first += 32) {
      const int i = first + lane;
      int k = 0;
      for (int j = 0; j < lanes; ++j) {
        const int shift = __shfl_sync(kAllLanes, begin - before, j), from = __shfl_sync(kAllLanes, before, j);
        if (i >= from) k = i + shift;
      }
      T t, dt, x[3];
      ray.interval(k, step_size, &t, &dt);
      for (int c = 0; c < 3; ++c) x[c] = o[c] + t * d[c];
      if (i < count) {
        out.t[slot + i] = t;
        out.dt[slot + i] = dt;
        out.ray[slot + i] = id;
      }
      store_vectors(out.x + 3 * (slot + first), count - first < 32 ? count - first : 32, x, lane, staged);
    }
  }

  // Walks the ray from interval `next` on, a stretch per lane: first counts, then writes to slots slot .. end.
  __device__ void walk(int next, int64_t slot, int64_t end) const {
    const int intervals = ray.intervals(step_size), each = (intervals - next + 31) / 32;
    const int begin = next + lane * each < intervals ? next + lane * each : intervals;
    const int stop = begin + each < intervals ? begin + each : intervals;
    MarchCount<T> counter{{nullptr, 0, 0}, 0};
    march_constant(ray, step_size, begin, stop, counter);
    const int32_t upto = scan_lanes<32>(counter.count, lane);
    const int64_t last = lane < 31 && slot + upto < end ? slot + upto : end;
    MarchWrite<T> writer{out, origin, direction, id, slot + upto - counter.count, last};
    if (writer.slot >= last) return;
    if (counter.count > 0) march_constant(ray, step_size, begin, stop, writer);
    writer.finish();
  }

  __device__ void write(const MarchRuns& runs, int64_t slot, int64_t end, int32_t count, T* staged) const {
    // Empty runs come last: they follow the run that completes `count`.
    MarchRun run = {0, 0};
    if (lane < runs.max_runs) run = runs.run[lane * runs.rays + id];
    const int32_t length = run.end - run.begin;
    const int32_t upto = scan_lanes<32>(length, lane);
    const unsigned complete = __ballot_sync(kAllLanes, lane < runs.max_runs && upto == count);
    const int lanes = complete ? __ffs(complete) : runs.max_runs;
    const int32_t stored = lanes > 0 ? __shfl_sync(kAllLanes, upto, lanes - 1) : 0;
    const int next = lanes > 0 ? __shfl_sync(kAllLanes, run.end, lanes - 1) : 0;
    const int32_t now = stored < end - slot ? stored : static_cast<int32_t>(end - slot);
    write_runs(run.begin, upto - length, lanes, now, slot, staged);
    if (slot + stored < end) walk(next, slot + stored, end);
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 4 ? 4 : 2)
    write_kernel(MarchParams<T> p, MarchRuns runs, const int32_t* counts, const BlockSum* sums, int blocks,
                 int block_rays, int64_t max_samples, int32_t* offsets, MarchOutput<T> out, int64_t* num_samples,
                 bool* overflow, int64_t* num_rays_hit) {
  __shared__ long long partial[kWarps];
  __shared__ int32_t starts[kMaxRays + 1];  // first slot of each ray, relative to `base`
  __shared__ T staged[kWarps][96];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int64_t base = 0;
  long long hits = 0;  // rays that hit the sphere, in the blocks whose sums this thread read
  int summed = 0;

  for (int b = blockIdx.x; b < blocks; b += gridDim.x) {
    const int64_t first_ray = static_cast<int64_t>(b) * block_rays;
    const int n = static_cast<int>(p.rays - first_ray < block_rays ? p.rays - first_ray : block_rays);
    // ---- The first slot of the block's rays: add up the sums of the blocks before, scan the counts (two per lane).
    const int i0 = 2 * threadIdx.x, i1 = i0 + 1;
    const int32_t even = i0 < n ? counts[first_ray + i0] : 0, odd = i1 < n ? counts[first_ray + i1] : 0;
    long long before = 0;
    for (int i = summed + static_cast<int>(threadIdx.x); i < b; i += kThreads) {
      const BlockSum sum = sums[i];
      before += sum.kept;
      hits += sum.num_rays_hit;
    }
    summed = b;
    base += block_sum(before, partial);
    if (warp == 0) {
      const int32_t upto = scan_lanes<32>(even + odd, lane);
      starts[i0] = upto - even - odd;
      starts[i1] = upto - odd;
      if (lane == 31) starts[kMaxRays] = upto;
    }
    __syncthreads();
    const auto slot_of = [&](int i) { return base + starts[i] < max_samples ? base + starts[i] : max_samples; };

    // ---- Offsets, and in the last block the totals.
    for (int i = threadIdx.x; i < n; i += kThreads) offsets[first_ray + i] = static_cast<int32_t>(slot_of(i));
    if (b == blocks - 1) {
      hits = block_sum(hits, partial);
      if (threadIdx.x == 0) {
        offsets[p.rays] = static_cast<int32_t>(slot_of(kMaxRays));
        *num_samples = base + starts[kMaxRays];
        *overflow = *num_samples > max_samples;
        *num_rays_hit = hits + (n > 0 ? sums[b].num_rays_hit : 0);
      }
    }

    // ---- Samples: a thread per ray with growing steps, else a warp per ray.
    if (p.cone_angle > T(0)) {
      for (int i = threadIdx.x; i < n; i += kThreads) {
        const int64_t slot = slot_of(i), end = slot_of(i + 1), r = first_ray + i;
        if (slot == end) continue;
        MarchWrite<T> writer{out, p.origins + 3 * r, p.directions + 3 * r, static_cast<int32_t>(r), slot, end};
        march_ray(p, r, 0, writer);
        writer.finish();
      }
      continue;
    }
    for (int i = warp; i < n; i += kWarps) {  // all lanes take the same branches
      const int64_t slot = slot_of(i), end = slot_of(i + 1), r = first_ray + i;
      if (slot == end) continue;
      RayWriter<T> writer{out, {}, p.step_size, p.origins + 3 * r, p.directions + 3 * r, static_cast<int32_t>(r), lane};
      writer.ray.start(p, r);
      writer.write(runs, slot, end, starts[i + 1] - starts[i], staged[warp]);
    }
  }
}

template <int kLanes, class T>
void count(const MarchParams<T>& p, const MarchRuns& runs, int32_t* counts, int32_t* sums, cudaStream_t stream) {
  constexpr int kRays = rays_a_block(kLanes), kBlock = kRays * kLanes;
  count_kernel<kLanes>
      <<<blocks_for(p.rays, kRays), kBlock, 0, stream>>>(p, runs, counts, reinterpret_cast<BlockSum*>(sums));
}

// Returns the number of lanes per ray. Growing steps follow a recurrence and use one lane.
int lanes_of(int lanes, bool growing) {
  if (lanes < 1 || lanes > 32 || (lanes & (lanes - 1))) {
    throw std::invalid_argument("march: lanes must be 1, 2, 4, 8, 16 or 32, got " + std::to_string(lanes));
  }
  return growing ? 1 : lanes;
}

int runs_of(int max_runs, bool growing) { return growing ? 0 : max_runs < kMarchMaxRuns ? max_runs : kMarchMaxRuns; }

}  // namespace

template <class T>
void march_count(Launch launch, const MarchCountParams<T>& params) {
  const MarchParams<T>& p = params.march;
  const bool growing = p.cone_angle > T(0);
  const MarchRuns runs{params.runs, runs_of(params.max_runs, growing), p.rays};
  const int lanes = lanes_of(params.lanes, growing);
  if (p.rays == 0) return;
  const DeviceGuard guard(launch.device);
  const auto run = lanes == 1    ? &count<1, T>
                   : lanes == 2  ? &count<2, T>
                   : lanes == 4  ? &count<4, T>
                   : lanes == 8  ? &count<8, T>
                   : lanes == 16 ? &count<16, T>
                                 : &count<32, T>;
  run(p, runs, params.counts, params.sums, stream_of(launch));
  check(cudaGetLastError(), "march_count");
}

// Launches a kernel for zero rays too, because the totals must be written.
template <class T>
void march_write(Launch launch, const MarchWriteParams<T>& params) {
  const MarchParams<T>& p = params.march;
  const bool growing = p.cone_angle > T(0);
  const MarchRuns runs{const_cast<MarchRun*>(params.runs), runs_of(params.max_runs, growing), p.rays};
  const int block_rays = rays_a_block(lanes_of(params.lanes, growing));
  const DeviceGuard guard(launch.device);
  const unsigned blocks = p.rays > 0 ? blocks_for(p.rays, block_rays) : 1;
  const unsigned writers = blocks < kWriters ? blocks : kWriters;
  write_kernel<T><<<writers, kThreads, 0, stream_of(launch)>>>(
      p, runs, params.counts, reinterpret_cast<const BlockSum*>(params.sums), static_cast<int>(blocks), block_rays,
      params.max_samples, params.offsets, params.out, params.num_samples, params.overflow, params.num_rays_hit);
  check(cudaGetLastError(), "march_write");
}

DFAST_MARCH(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
