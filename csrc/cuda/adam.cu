#include "ops/adam.h"

#include "cuda/launch.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 256;
constexpr int kUnroll = 2;                             // vectors a thread has in flight
constexpr std::int64_t kChunk = kBlock * kUnroll * 4;  // entries
constexpr std::int64_t kStepBlocks = 132 * 16;         // grid-stride beyond

// Four entries: one 16-byte access in float, two in double.
template <class T>
struct alignas(16) Four {
  T v[4];
};
struct alignas(8) FourHalf {
  Half v[4];
};

// Entries that nobody reads again before the next step go past the L2, which then keeps the half copy for the field.
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

// The block's sum, in thread 0; the same tree every time.
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
struct Piece {
  const T* values;
  std::int64_t entries;
  bool vector;  // whether `values` is aligned for Four
};

// Every block sums its chunks in a fixed order into its own slot; whichever block ends last adds the slots, again in
// a fixed order. The first word of the workspace counts blocks and is left at zero.
template <class T>
__global__ void __launch_bounds__(kBlock)
    norm_kernel(Chunks<Piece<T>> list, std::int64_t chunks, double* workspace, T* status) {
  unsigned* const arrived = reinterpret_cast<unsigned*>(workspace);
  double* const partial = workspace + 1;
  T sum = 0;
  for (std::int64_t c = blockIdx.x; c < chunks; c += gridDim.x) {
    const int k = list.find(c);
    const Piece<T>& piece = list.tensors[k];
    const std::int64_t begin = (c - list.first[k]) * kChunk;
    if (piece.vector && begin + kChunk <= piece.entries) {
      Four<T> four[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        four[u] = *reinterpret_cast<const Four<T>*>(piece.values + begin + (u * kBlock + threadIdx.x) * 4);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        for (const T value : four[u].v) sum += value * value;
      }
    } else {
      const std::int64_t end = begin + kChunk < piece.entries ? begin + kChunk : piece.entries;
      for (std::int64_t i = begin + threadIdx.x; i < end; i += kBlock) sum += piece.values[i] * piece.values[i];
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

// Bound by memory: 28 bytes an entry in float, 30 with the half copy.
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
        if (tensor.storage != nullptr) {
          FourHalf half;
#pragma unroll
          for (int j = 0; j < 4; ++j) half.v[j] = to_half(static_cast<float>(p[u].v[j]));
          *reinterpret_cast<FourHalf*>(tensor.storage + i) = half;
        }
      }
    } else {
      const std::int64_t end = begin + kChunk < tensor.entries ? begin + kChunk : tensor.entries;
      for (std::int64_t i = begin + threadIdx.x; i < end; i += kBlock) {
        adam_entry(rule, rate, tensor.grad[i], tensor.param[i], tensor.exp_avg[i], tensor.exp_avg_sq[i]);
        if (tensor.storage != nullptr) tensor.storage[i] = to_half(static_cast<float>(tensor.param[i]));
      }
    }
  }
}

}  // namespace

template <class T>
void gradient_norm(Launch launch, std::vector<const T*> grads, std::vector<std::int64_t> entries, double* workspace,
                   T* status) {
  Chunks<Piece<T>> list;
  for (std::size_t i = 0; i < grads.size(); ++i) {
    list.add({grads[i], entries[i], aligned(grads[i], 16)}, entries[i], kChunk);
  }
  const std::int64_t chunks = list.count ? list.total() : 0;
  const std::int64_t blocks = chunks < 1 ? 1 : chunks < kNormBlocks ? chunks : kNormBlocks;
  const DeviceGuard guard(launch.device);
  norm_kernel<<<static_cast<unsigned>(blocks), kBlock, 0, stream_of(launch)>>>(list, chunks, workspace, status);
  check(cudaGetLastError(), "gradient_norm");
}

template <class T>
void adam_step(Launch launch, std::vector<T*> params, std::vector<const T*> grads, std::vector<T*> exp_avg,
               std::vector<T*> exp_avg_sq, std::vector<Half*> storage, std::vector<double> rates,
               std::vector<std::int64_t> entries, double beta1, double beta2, double eps, const T* factor,
               const T* status) {
  Chunks<Entry<T>> list;
  for (std::size_t i = 0; i < params.size(); ++i) {
    const bool vector = aligned(params[i], 16) && aligned(grads[i], 16) && aligned(exp_avg[i], 16) &&
                        aligned(exp_avg_sq[i], 16) && aligned(storage[i], 8);
    list.add({{params[i], grads[i], exp_avg[i], exp_avg_sq[i], storage[i], T(rates[i]), entries[i]}, vector},
             entries[i], kChunk);
  }
  const std::int64_t chunks = list.count ? list.total() : 0;
  if (chunks == 0) return;
  const std::int64_t blocks = chunks < kStepBlocks ? chunks : kStepBlocks;
  const DeviceGuard guard(launch.device);
  step_kernel<<<static_cast<unsigned>(blocks), kBlock, 0, stream_of(launch)>>>(
      list, chunks, adam_settings<T>(beta1, beta2, eps), factor, status);
  check(cudaGetLastError(), "adam_step");
}

#define INSTANTIATE(T)                                                                                                \
  template void gradient_norm(Launch, std::vector<const T*>, std::vector<std::int64_t>, double*, T*);                 \
  template void adam_step(Launch, std::vector<T*>, std::vector<const T*>, std::vector<T*>, std::vector<T*>,           \
                          std::vector<Half*>, std::vector<double>, std::vector<std::int64_t>, double, double, double, \
                          const T*, const T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace dfast::cuda
