#include "ops/adam.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 256;
constexpr int kUnroll = 2;                             // vectors that a thread has in flight
constexpr std::int64_t kChunk = kBlock * kUnroll * 4;  // entries of a chunk
constexpr std::int64_t kStepBlocks = 132 * 16;         // larger lists are processed in a grid-stride loop

// Four entries: one 16-byte access in float, two in double.
template <class T>
struct alignas(16) Four {
  T v[4];
};
struct alignas(8) FourHalf {
  Half v[4];
};

// Streaming accesses: these entries are not read again before the next step, so that L2 keeps the half copy for the
// field.
template <class T>
__device__ Four<T> load_streaming(const T* from) {
  Four<T> four;
  uint4* words = reinterpret_cast<uint4*>(&four);
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(four) / 16); ++i)
    words[i] = __ldcs(reinterpret_cast<const uint4*>(from) + i);
  return four;
}

template <class T>
__device__ void store_streaming(T* to, const Four<T>& four) {
  const uint4* words = reinterpret_cast<const uint4*>(&four);
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(four) / 16); ++i) __stcs(reinterpret_cast<uint4*>(to) + i, words[i]);
}

inline bool aligned(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

// Returns the block's sum in thread 0, with a fixed tree of additions.
__device__ double block_sum(double value) {
  __shared__ double warps[kBlock / 32];
  for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_down_sync(0xffffffffu, value, offset);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  double total = 0;
  if (threadIdx.x == 0) {
    for (int w = 0; w < kBlock / 32; ++w) total += warps[w];
  }
  __syncthreads();  // `warps` is free again
  return total;
}

template <class T>
struct GradientView {
  const T* values;
  std::int64_t entries;
  bool vector;  // whether `values` is aligned for Four
};

// Every block sums its chunks in a fixed order into its own slot. The block that ends last adds the slots, again in a
// fixed order. The first word of the workspace counts the blocks that have ended and is left at zero.
template <class T>
__global__ void __launch_bounds__(kBlock)
    norm_kernel(Chunks<GradientView<T>> list, std::int64_t chunks, double* workspace, T* status) {
  unsigned* const arrived = reinterpret_cast<unsigned*>(workspace);
  double* const partial = workspace + 1;
  T sum = 0;
  for (std::int64_t c = blockIdx.x; c < chunks; c += gridDim.x) {
    const int k = list.find(c);
    const GradientView<T>& gradient = list.tensors[k];
    const std::int64_t begin = (c - list.first[k]) * kChunk;
    if (gradient.vector && begin + kChunk <= gradient.entries) {
      Four<T> four[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        four[u] = *reinterpret_cast<const Four<T>*>(gradient.values + begin + (u * kBlock + threadIdx.x) * 4);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        for (const T value : four[u].v) sum += value * value;
      }
    } else {
      const std::int64_t end = begin + kChunk < gradient.entries ? begin + kChunk : gradient.entries;
      for (std::int64_t i = begin + threadIdx.x; i < end; i += kBlock) sum += gradient.values[i] * gradient.values[i];
    }
  }
  const double block = block_sum(static_cast<double>(sum));
  __shared__ bool last;
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = block;
    __threadfence();
    last = atomicAdd(arrived, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  double rest = 0;
  for (unsigned b = threadIdx.x; b < gridDim.x; b += kBlock) rest += __ldcg(partial + b);
  const double total = block_sum(rest);
  if (threadIdx.x == 0) {
    note_norm(static_cast<T>(sqrt(total)), status);
    *arrived = 0;
  }
}

template <class T>
struct Entry : AdamTensor<T> {
  bool vector;  // whether everything is aligned for Four
};

// Bound by memory traffic: 28 bytes per entry in float, 30 with the half copy.
template <class T>
__global__ void __launch_bounds__(kBlock) step_kernel(Chunks<Entry<T>> list, std::int64_t chunks,
                                                      AdamSettings<T> settings, const T* factor, const T* status) {
  if (!is_finite(status[kNorm])) return;
  const AdamRule<T> rule = adam_rule(settings, status[kStep], *factor);
  for (std::int64_t c = blockIdx.x; c < chunks; c += gridDim.x) {
    const int k = list.find(c);
    const Entry<T>& tensor = list.tensors[k];
    const T rate = tensor.rate * rule.factor;
    const std::int64_t begin = (c - list.first[k]) * kChunk;
    if (tensor.vector && begin + kChunk <= tensor.entries) {
      Four<T> g[kUnroll], p[kUnroll], m[kUnroll], v[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const std::int64_t i = begin + (u * kBlock + threadIdx.x) * 4;
        g[u] = load_streaming(tensor.grad + i);
        p[u] = load_streaming(tensor.param + i);
        m[u] = load_streaming(tensor.exp_avg + i);
        v[u] = load_streaming(tensor.exp_avg_sq + i);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const std::int64_t i = begin + (u * kBlock + threadIdx.x) * 4;
#pragma unroll
        for (int j = 0; j < 4; ++j) adam_entry(rule, rate, g[u].v[j], p[u].v[j], m[u].v[j], v[u].v[j]);
        store_streaming(tensor.param + i, p[u]);
        store_streaming(tensor.exp_avg + i, m[u]);
        store_streaming(tensor.exp_avg_sq + i, v[u]);
        if (tensor.half_copy != nullptr) {
          FourHalf half;
#pragma unroll
          for (int j = 0; j < 4; ++j) half.v[j] = to_half(static_cast<float>(p[u].v[j]));
          *reinterpret_cast<FourHalf*>(tensor.half_copy + i) = half;
        }
      }
    } else {
      const std::int64_t end = begin + kChunk < tensor.entries ? begin + kChunk : tensor.entries;
      for (std::int64_t i = begin + threadIdx.x; i < end; i += kBlock) {
        adam_entry(rule, rate, tensor.grad[i], tensor.param[i], tensor.exp_avg[i], tensor.exp_avg_sq[i]);
        if (tensor.half_copy != nullptr) tensor.half_copy[i] = to_half(static_cast<float>(tensor.param[i]));
      }
    }
  }
}

}  // namespace

template <class T>
void gradient_norm(Launch launch, const GradientNormParams<T>& p) {
  Chunks<GradientView<T>> list;
  for (std::size_t i = 0; i < p.grads.size(); ++i) {
    list.add({p.grads[i], p.entries[i], aligned(p.grads[i], 16)}, p.entries[i], kChunk);
  }
  const std::int64_t chunks = list.count ? list.total() : 0;
  const std::int64_t blocks = chunks < 1 ? 1 : chunks < kMaxNormBlocks ? chunks : kMaxNormBlocks;
  const DeviceGuard guard(launch.device);
  norm_kernel<<<static_cast<unsigned>(blocks), kBlock, 0, stream_of(launch)>>>(list, chunks, p.workspace, p.status);
  check(cudaGetLastError(), "gradient_norm");
}

template <class T>
void adam_step(Launch launch, const AdamStepParams<T>& p) {
  Chunks<Entry<T>> list;
  for (std::size_t i = 0; i < p.params.size(); ++i) {
    const AdamTensor<T> tensor = {p.params[i],      p.grads[i],    p.exp_avg[i], p.exp_avg_sq[i],
                                  p.half_copies[i], T(p.rates[i]), p.entries[i]};
    const bool vector = aligned(tensor.param, 16) && aligned(tensor.grad, 16) && aligned(tensor.exp_avg, 16) &&
                        aligned(tensor.exp_avg_sq, 16) && aligned(tensor.half_copy, 8);
    list.add({tensor, vector}, tensor.entries, kChunk);
  }
  const std::int64_t chunks = list.count ? list.total() : 0;
  if (chunks == 0) return;
  const std::int64_t blocks = chunks < kStepBlocks ? chunks : kStepBlocks;
  const DeviceGuard guard(launch.device);
  step_kernel<<<static_cast<unsigned>(blocks), kBlock, 0, stream_of(launch)>>>(
      list, chunks, adam_settings<T>(p.beta1, p.beta2, p.eps), p.factor, p.status);
  check(cudaGetLastError(), "adam_step");
}

DFAST_ADAM(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
