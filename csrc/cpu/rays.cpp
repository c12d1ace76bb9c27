#include "ops/rays.h"

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kRays = 8192;  // a chunk

template <class T>
void pixel_rays(Launch launch, const T* origin, const T* rotation, const T* fov, int64_t views, int resolution,
                T* origins, T* directions) {
  const RaysParams<T> p{origin, rotation, fov, views, resolution, origins, directions};
  parallel_chunks(launch.threads, views * resolution * resolution, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) pixel_ray(p, r);
  });
}

template void pixel_rays(Launch, const float*, const float*, const float*, int64_t, int, float*, float*);
template void pixel_rays(Launch, const double*, const double*, const double*, int64_t, int, double*, double*);

}  // namespace dfast::cpu
