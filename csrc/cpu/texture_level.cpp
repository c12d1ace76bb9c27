#include "ops/texture_level.h"

#include "cpu/pixels.h"

namespace dfast::cpu {

template <class T>
void texture_level(Launch launch, const TextureLevelParams<T>& p) {
  for_each_pixel(launch.threads, p.views, p.resolution, [&](const PixelPlace& place) { level_of_pixel(p, place); });
}

DFAST_TEXTURE_LEVEL(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
