// A block takes up to 64 rows of a head, and a warp 16 of them. All keys and values lie in shared memory, all scores of
// a row in the registers of four lanes. Halves are multiplied by tensor cores with float sums; weights are rounded to
// halves on their way to the values, and divided by their sum afterwards.
#include "ops/attention.h"

#include <cuda_pipeline.h>

#include <type_traits>

#include "cuda/launch.h"
#include "cuda/mma.cuh"
#include "cuda/vector.h"

namespace dfast::cuda {

namespace {

constexpr int kWarps = 4;  // largest number of warps of a block

// Starts to copy rows [first, first + count) of one head to shared memory, with zeros for what is beyond `rows` and
// `size`. All loads are in flight at once.
__device__ __forceinline__ void copy_rows(const RowsOf<Half>& from, int64_t b, int64_t first, int count, int64_t rows,
                                          int head, int size, int pitch, __half* to) {
  const int vectors = (pitch - 8) / 8;
#pragma unroll 1
  for (int i = threadIdx.x; i < count * vectors; i += blockDim.x) {
    const int row = i / vectors, c = 8 * (i - row * vectors);
    const bool inside = first + row < rows && c < size;
    const Half* source = from.row(b, inside ? first + row : 0) + head * size + (inside ? c : 0);
    __pipeline_memcpy_async(to + row * pitch + c, source, 16, inside ? 0 : 16);
  }
}

// kTiles: 8 keys each, an even number of them. Grid (blocks of rows, heads, samples).
template <int kTiles>
__global__ void __launch_bounds__(32 * kWarps) attention_kernel(const AttentionParams<Half> p, int pitch) {
#if DFAST_TENSOR_CORES
  extern __shared__ __align__(16) unsigned char memory[];
  __half* keys = reinterpret_cast<__half*>(memory);
  __half *values = keys + 8 * kTiles * pitch, *queries = values + 8 * kTiles * pitch;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, rows = blockDim.x / 2, head = blockIdx.y;
  const int size = static_cast<int>(p.size), count = static_cast<int>(p.keys), steps = (pitch - 8) / 16;
  const int64_t b = blockIdx.z, first = static_cast<int64_t>(blockIdx.x) * rows;
  copy_rows(p.queries(), b, first, rows, p.rows, head, size, pitch, queries);
  copy_rows(p.all_keys(), b, 0, 8 * kTiles, count, head, size, pitch, keys);
  copy_rows(p.values(), b, 0, 8 * kTiles, count, head, size, pitch, values);
  __pipeline_commit();
  __pipeline_wait_prior(0);
  __syncthreads();
  if (first + 16 * warp >= p.rows) return;

  // ---- Scores. The four matrices of one load are (tile, first 8 channels), (tile, last 8), and those of the next
  // tile.
  const int matrix = lane >> 3, of_matrix = lane & 7;
  float score[kTiles][4] = {};
  const __half* q = queries + (16 * warp + (lane & 15)) * pitch + (lane >> 4) * 8;
  const __half* k = keys + ((matrix >> 1) * 8 + of_matrix) * pitch + (matrix & 1) * 8;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    std::uint32_t a[4];
    load_matrices<false>(a, q + 16 * step);
#pragma unroll
    for (int t = 0; t < kTiles; t += 2) {
      std::uint32_t of_keys[4];
      load_matrices<false>(of_keys, k + 8 * t * pitch + 16 * step);
      multiply_add(score[t], a, of_keys[0], of_keys[1]);
      multiply_add(score[t + 1], a, of_keys[2], of_keys[3]);
    }
  }

  // ---- Weights of rows lane / 4 and lane / 4 + 8, as A fragments.
  const float scale = 1.44269504f * rsqrtf(static_cast<float>(size));
  float most[2] = {-INFINITY, -INFINITY}, total[2] = {};
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (8 * t + 2 * (lane & 3) + (i & 1) >= count) score[t][i] = -INFINITY;
      most[i >> 1] = fmaxf(most[i >> 1], score[t][i]);
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    most[r] = fmaxf(most[r], __shfl_xor_sync(~0u, most[r], 1));
    most[r] = fmaxf(most[r], __shfl_xor_sync(~0u, most[r], 2));
  }
  std::uint32_t weight[kTiles / 2][4];
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float left = exp2f((score[t][2 * r] - most[r]) * scale),
                  right = exp2f((score[t][2 * r + 1] - most[r]) * scale);
      total[r] += left + right;
      weight[t / 2][2 * (t & 1) + r] = pack_half(left, right);
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    total[r] += __shfl_xor_sync(~0u, total[r], 1);
    total[r] += __shfl_xor_sync(~0u, total[r], 2);
    total[r] = 1.0f / total[r];
  }

  // ---- Sums of values, 16 channels at a time. The matrices of one load are (first 8 keys, first 8 channels), (last 8
  // keys, first 8 channels), and those of the last 8 channels.
  const __half* v = values + ((matrix & 1) * 8 + of_matrix) * pitch + (matrix >> 1) * 8;
  const int64_t row = first + 16 * warp + lane / 4, channels = p.heads * size;
  Half* out = p.y + (b * p.rows + row) * channels + head * size + 2 * (lane & 3);
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    float sum[2][4] = {};
#pragma unroll
    for (int t = 0; t < kTiles / 2; ++t) {
      std::uint32_t of_values[4];
      load_matrices<true>(of_values, v + 16 * t * pitch + 16 * step);
      multiply_add(sum[0], weight[t], of_values[0], of_values[1]);
      multiply_add(sum[1], weight[t], of_values[2], of_values[3]);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int c = 16 * step + 8 * i;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (c < size && row + 8 * r < p.rows) {
          *reinterpret_cast<std::uint32_t*>(out + 8 * r * channels + c) =
              pack_half(sum[i][2 * r] * total[r], sum[i][2 * r + 1] * total[r]);
        }
      }
    }
  }
#endif
}

template <int kTiles>
void start(const Launch& launch, const AttentionParams<Half>& p) {
  const int warps = static_cast<int>(p.rows < 16 * kWarps ? (p.rows + 15) / 16 : kWarps);
  const int pitch = static_cast<int>((p.size + 15) / 16 * 16 + 8);  // 8: rows of a matrix lie in different banks
  const int bytes = (2 * 8 * kTiles + 16 * warps) * pitch * static_cast<int>(sizeof(__half));
  auto* kernel = &attention_kernel<kTiles>;
  cudaFuncAttributes built{};
  check(cudaFuncGetAttributes(&built, kernel), "attention");
  if (built.ptxVersion < 80) throw std::invalid_argument("attention on CUDA needs kernels built for 8.0 or newer");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "attention");
  const dim3 grid(blocks_for(p.rows, 16 * warps), static_cast<unsigned>(p.heads), static_cast<unsigned>(p.batch));
  kernel<<<grid, 32 * warps, bytes, stream_of(launch)>>>(p, pitch);
  check(cudaGetLastError(), "attention");
}

}  // namespace

template <class S>
void attention(Launch launch, const AttentionParams<S>& p) {
  if constexpr (!std::is_same_v<S, Half>) {
    throw std::invalid_argument("attention on CUDA takes float16 tensors");
  } else {
    if (p.batch * p.rows * p.heads * p.size == 0) return;
    const bool in_vectors = (p.q_batch | p.q_row | p.k_batch | p.k_row | p.v_batch | p.v_row | p.size) % 8 == 0;
    const bool fits = p.keys >= 1 && p.keys <= kMaxAttentionKeys && p.size <= kMaxAttentionSize;
    if (!fits || !in_vectors || !aligned16({p.q, p.k, p.v, p.y})) {
      throw std::invalid_argument("attention on CUDA: too many keys or channels, or rows that are not whole vectors");
    }
    const DeviceGuard guard(launch.device);
    if (p.keys <= 16) {
      start<2>(launch, p);
    } else if (p.keys <= 32) {
      start<4>(launch, p);
    } else if (p.keys <= 64) {
      start<8>(launch, p);
    } else {
      start<10>(launch, p);
    }
  }
}

DFAST_ATTENTION(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
