// What the launchers of the fused field share: the compiled shapes, and grids of persistent blocks.
#pragma once

#include <map>
#include <mutex>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "cuda/field/mlp.cuh"
#include "cuda/launch.h"

namespace dfast::cuda {

inline FieldArgs field_args(const FieldParams<float>& params) {
  if (!params.table_half || params.net.grid.features != 2 || params.net.grid.levels > 16) {
    throw std::invalid_argument("the fused CUDA field needs table_half, 2 features and at most 16 levels");
  }
  if (reinterpret_cast<std::uintptr_t>(params.table_half) % 4 != 0) {
    throw std::invalid_argument("the fused CUDA field needs table_half on a 4-byte boundary");
  }
  FieldArgs p = {};
  p.net = params.net, p.n = params.n, p.count = params.count, p.x = params.x;
  p.table_half = reinterpret_cast<const std::uint32_t*>(params.table_half);
  p.level_weights = params.level_weights, p.mlp = params.mlp;
  return p;
}

// Calls f(width, input tiles) with compile-time constants.
template <class F>
void with_field_shape(const FieldNet& net, const F& f) {
  const auto with_width = [&](auto tiles) {
    switch (net.width) {
      case 16:
        return f(std::integral_constant<int, 16>{}, tiles);
      case 32:
        return f(std::integral_constant<int, 32>{}, tiles);
      case 64:
        return f(std::integral_constant<int, 64>{}, tiles);
      case 128:
        return f(std::integral_constant<int, 128>{}, tiles);
      default:
        throw std::invalid_argument("the fused CUDA field needs a width of 16, 32, 64 or 128");
    }
  };
  net.grid.levels <= 8 ? with_width(std::integral_constant<int, 1>{}) : with_width(std::integral_constant<int, 2>{});
}

// Allows a kernel `bytes` of shared memory. The limit only grows, because another thread may be about to launch with
// it.
inline void allow_shared_memory(const void* kernel, int device, int bytes) {
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, int> allowed;
  const std::lock_guard<std::mutex> lock(mutex);
  int& limit = allowed[{kernel, device}];
  if (bytes <= limit) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "shared memory of the field");
  limit = bytes;
}

// Returns as many blocks as run at once, but at most `wanted`. Launches may be captured in a CUDA graph, so nothing
// here uses the stream.
inline unsigned persistent_blocks(const void* kernel, int device, int threads, int bytes, std::int64_t wanted) {
  int processors = 0, resident = 0;
  allow_shared_memory(kernel, device, bytes);
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, threads, bytes), "occupancy of the field");
  if (resident < 1) throw std::runtime_error("the fused CUDA field does not fit on this GPU");
  const std::int64_t max_blocks = static_cast<std::int64_t>(processors) * resident;
  return static_cast<unsigned>(wanted < max_blocks ? wanted : max_blocks);
}

}  // namespace dfast::cuda
