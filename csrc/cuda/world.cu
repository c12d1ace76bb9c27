// One thread per point or ray, a block within one scene. The block's threads first prepare the scene's parts in shared
// memory, a part each. The lanes of a warp visit the parts in the same order, so that they read one address and take
// one branch by kind. Arithmetic bounds the kernels: a part that is far from all points of a warp is left out, and a
// ray that has hit or left the sphere leaves its loop.
#include "cuda/launch.h"
#include "ops/world.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

// Returns the parts of a scene, in the block's shared memory.
template <class T>
__device__ __forceinline__ const Part<T>* load_parts(const SceneParts<T>& table, int64_t scene) {
  extern __shared__ __align__(16) unsigned char shared[];
  Part<T>* parts = reinterpret_cast<Part<T>*>(shared);
  for (int k = threadIdx.x; k < table.parts; k += kBlock) parts[k] = table.part(scene * table.parts + k);
  __syncthreads();
  return parts;
}

template <class T>
__global__ void __launch_bounds__(kBlock) distance_kernel(SceneDistanceParams<T> p, unsigned blocks) {
  const int64_t scene = blockIdx.x / blocks;
  const Part<T>* parts = load_parts(p.table, scene);
  const int64_t i = static_cast<int64_t>(blockIdx.x % blocks) * kBlock + threadIdx.x;
  if (i >= p.points) return;
  const int64_t at = scene * p.points + i;
  store_distance(p, nearest_part(parts, p.table.parts, p.x + 3 * at), at);
}

template <class T>
__global__ void __launch_bounds__(kBlock) trace_kernel(TraceViewsParams<T> p, unsigned blocks) {
  const int64_t scene = blockIdx.x / blocks;
  const Part<T>* parts = load_parts(p.table, scene);
  const int64_t r = static_cast<int64_t>(blockIdx.x % blocks) * kBlock + threadIdx.x;
  if (r < p.rays) trace_ray(p, parts, scene * p.rays + r);
}

}  // namespace

template <class T>
void scene_distance(Launch launch, const SceneDistanceParams<T>& p) {
  if (p.table.scenes == 0 || p.points == 0) return;
  const DeviceGuard guard(launch.device);
  const unsigned blocks = blocks_for(p.points, kBlock), all = static_cast<unsigned>(p.table.scenes * blocks);
  distance_kernel<<<all, kBlock, sizeof(Part<T>) * p.table.parts, stream_of(launch)>>>(p, blocks);
  check(cudaGetLastError(), "scene_distance");
}

template <class T>
void trace_views(Launch launch, const TraceViewsParams<T>& p) {
  if (p.table.scenes == 0 || p.rays == 0) return;
  const DeviceGuard guard(launch.device);
  const unsigned blocks = blocks_for(p.rays, kBlock), all = static_cast<unsigned>(p.table.scenes * blocks);
  trace_kernel<<<all, kBlock, sizeof(Part<T>) * p.table.parts, stream_of(launch)>>>(p, blocks);
  check(cudaGetLastError(), "trace_views");
}

DFAST_WORLD(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
