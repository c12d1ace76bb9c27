#include "ops/shade.h"

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kSamples = 8192;  // samples of a chunk

template <class T>
void shade(Launch launch, const ShadeParams<T>& p) {
  parallel_chunks(launch.threads, p.samples, kSamples, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) shade_sample(p, i);
  });
}

template <class T>
void shade_backward(Launch launch, const ShadeBackwardParams<T>& p) {
  parallel_chunks(launch.threads, p.samples, kSamples, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) shade_sample_backward(p, i);
  });
}

DFAST_SHADE(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
