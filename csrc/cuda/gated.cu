// Every number is read once and written once, so the kernels are bound by memory traffic. A thread takes 16 bytes of a
// row.
#include "ops/gated.h"

#include "cuda/launch.h"
#include "cuda/vector.h"

namespace dfast::cuda {

namespace {

constexpr int kBlock = 256;

template <class S, int W>
__global__ void geglu_kernel(const S* x, int64_t vectors, int64_t of_row, S* y) {
  using V = Vector<S, W>;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (i >= vectors) return;
  const V* row = reinterpret_cast<const V*>(x) + i / of_row * 2 * of_row + i % of_row;
  const V value = row[0], gate = row[of_row];
  V out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.v[j] = gated(value.v[j], gate.v[j]);
  reinterpret_cast<V*>(y)[i] = out;
}

template <class S, int W>
__global__ void merge_kernel(const S* a, const S* b, const S* bias, int64_t vectors, int64_t of_row,
                             typename Arithmetic<S>::type factor, S* y) {
  using V = Vector<S, W>;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  if (i >= vectors) return;
  const V left = reinterpret_cast<const V*>(a)[i], right = reinterpret_cast<const V*>(b)[i];
  const V add = reinterpret_cast<const V*>(bias)[i % of_row];
  V out;
#pragma unroll
  for (int j = 0; j < W; ++j) out.v[j] = merged(left.v[j], right.v[j], add.v[j], factor);
  reinterpret_cast<V*>(y)[i] = out;
}

template <class S, int W>
void run_geglu(const Launch& launch, const GegluParams<S>& p) {
  const int64_t of_row = p.channels / W, vectors = p.rows * of_row;
  geglu_kernel<S, W><<<blocks_for(vectors, kBlock), kBlock, 0, stream_of(launch)>>>(p.x, vectors, of_row, p.y);
}

template <class S, int W>
void run_merge(const Launch& launch, const MergeParams<S>& p) {
  using T = typename Arithmetic<S>::type;
  const int64_t of_row = p.channels / W, vectors = p.rows * of_row;
  merge_kernel<S, W><<<blocks_for(vectors, kBlock), kBlock, 0, stream_of(launch)>>>(p.a, p.b, p.bias, vectors, of_row,
                                                                                    static_cast<T>(p.factor), p.y);
}

}  // namespace

template <class S>
void geglu(Launch launch, const GegluParams<S>& p) {
  if (p.rows * p.channels == 0) return;
  const DeviceGuard guard(launch.device);
  const bool vectors = p.channels % kWidest<S> == 0 && aligned16({p.x, p.y});
  vectors ? run_geglu<S, kWidest<S>>(launch, p) : run_geglu<S, 1>(launch, p);
  check(cudaGetLastError(), "geglu");
}

template <class S>
void merge(Launch launch, const MergeParams<S>& p) {
  if (p.rows * p.channels == 0) return;
  const DeviceGuard guard(launch.device);
  const bool vectors = p.channels % kWidest<S> == 0 && aligned16({p.a, p.b, p.bias, p.y});
  vectors ? run_merge<S, kWidest<S>>(launch, p) : run_merge<S, 1>(launch, p);
  check(cudaGetLastError(), "merge");
}

DFAST_GATED(DFAST_INSTANTIATE)

}  // namespace dfast::cuda
