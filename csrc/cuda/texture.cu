// A thread per point. Bound by the reads of texels, and backward by the atomics on them.
#include "ops/texture.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 128;

template <class T>
__global__ void __launch_bounds__(kBlock) forward_kernel(TextureParams<T> p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (i < p.points) look_up(p, i);
}

template <class T>
__global__ void __launch_bounds__(kBlock) backward_kernel(TextureBackwardParams<T> p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (i >= p.points) return;
  look_up_backward(p, i);
  const int channels = p.chain.channels;
  const T* d = p.d_out + i * channels;
  if (p.terms) {
    for (int k = 0; k < 8; ++k) p.places[8 * i + k] = 0;
    for (int k = 0; k < 8 * channels; ++k) p.terms[8 * channels * i + k] = T(0);
  }
  visit_texels(p, i, [&](int64_t texel, T weight, int k) {
    if (p.terms) p.places[8 * i + k] = texel;
    for (int c = 0; c < channels; ++c) {
      if (p.terms) {
        p.terms[(8 * i + k) * channels + c] = weight * d[c];
      } else {
        atomicAdd(p.d_texels + texel * channels + c, weight * d[c]);
      }
    }
  });
}

}  // namespace

template <class T>
void texture(Launch launch, const TextureParams<T>& p) {
  if (p.points == 0) return;
  const DeviceGuard guard(launch.device);
  forward_kernel<<<blocks_for(p.points, kBlock), kBlock, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "texture");
}

template <class T>
void texture_backward(Launch launch, const TextureBackwardParams<T>& p) {
  if (p.points == 0) return;
  const DeviceGuard guard(launch.device);
  backward_kernel<<<blocks_for(p.points, kBlock), kBlock, 0, stream_of(launch)>>>(p);
  check(cudaGetLastError(), "texture_backward");
}

DFAST_TEXTURE(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
