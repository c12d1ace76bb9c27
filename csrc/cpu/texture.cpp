#include "ops/texture.h"

#include "cpu/parallel.h"
#include "cpu/pixels.h"

namespace dfast::cpu {

constexpr int64_t kPoints = 2048;  // of a chunk

template <class T>
void texture(Launch launch, const TextureParams<T>& p) {
  parallel_chunks(launch.threads, p.points, kPoints, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) look_up(p, i);
  });
}

template <class T>
void texture_backward(Launch launch, const TextureBackwardParams<T>& p) {
  parallel_chunks(launch.threads, p.points, kPoints, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) look_up_backward(p, i);
  });
  const int channels = p.chain.channels;
  for_each_owner(launch.threads, p.rows, [&](int64_t low, int64_t high) {
    for (int64_t i = 0; i < p.points; ++i) {
      visit_texels(p, i, [&](int64_t texel, T weight, int) {
        if (texel < low || texel >= high) return;
        for (int c = 0; c < channels; ++c) p.d_texels[texel * channels + c] += weight * p.d_out[i * channels + c];
      });
    }
  });
}

DFAST_TEXTURE(DFAST_INSTANTIATE)

}  // namespace dfast::cpu
