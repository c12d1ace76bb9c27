#include "ops/rays.h"

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kRays = 8192;  // rays of a chunk

template <class T>
void pixel_rays(Launch launch, const RaysParams<T>& p) {
  parallel_chunks(launch.threads, p.views * p.resolution * p.resolution, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) pixel_ray(p, r);
  });
}

DFAST_RAYS(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
