#include "ops/composite.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kRays = 512;  // rays of a chunk

// Zeroes the values of samples of no ray: those before offsets[0] and from offsets[rays] on.
template <class T>
void zero_unowned(T* values /* [M, width] */, int64_t width, const int32_t* offsets, int64_t samples, int64_t rays) {
  std::fill(values, values + offsets[0] * width, T(0));
  std::fill(values + offsets[rays] * width, values + samples * width, T(0));
}

template <class T>
void composite(Launch launch, const CompositeParams<T>& p) {
  zero_unowned(p.weights, 1, p.offsets, p.samples, p.rays);
  parallel_chunks(launch.threads, p.rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) composite_ray(p, r);
  });
}

template <class T>
void composite_backward(Launch launch, const CompositeBackwardParams<T>& p) {
  zero_unowned(p.d_density, 1, p.offsets, p.samples, p.rays);
  zero_unowned(p.d_rgb, p.channels, p.offsets, p.samples, p.rays);
  parallel_chunks(launch.threads, p.rays, kRays, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) composite_ray_backward(p, r);
  });
}

DFAST_COMPOSITE(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
