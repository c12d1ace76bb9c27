#include "ops/texture_level.h"

#include "cpu/parallel.h"

namespace dfast::cpu {

constexpr int64_t kPixels = 1024;  // of a chunk

template <class T>
void texture_level(Launch launch, const TextureLevelParams<T>& p) {
  const int64_t pixels = p.views * p.resolution * p.resolution;
  parallel_chunks(launch.threads, pixels, kPixels, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) level_of_pixel(p, i);
  });
}

DFAST_TEXTURE_LEVEL(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
